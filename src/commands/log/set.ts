import {Args, Flags} from '@oclif/core';
import {CliError, EXIT} from '../../roles/cli-error.js';
import {settingOf} from '../../roles/config/schema.js';
import {parseDuration, parseValue} from '../../roles/config/values.js';
import {CpfsCommand, metas} from '../_base.js';
import {levelFlags, levelsText} from './_levels.js';

const DAYS_MAX = 7;

export default class LogSet extends CpfsCommand {
  static override summary = 'Change what servers log, while they run.';
  static override description =
    'LEVELS is debug, info, warn or error, with CATEGORY=LEVEL after commas for events whose names begin so; categories alone leave the level as it is. With ' +
    '--for it is as before after that time. A restart, and SIGHUP, bring back what is configured (log.level). Mounts have no port: change log.level for them, and send SIGHUP.';
  static override examples = [
    '<%= config.bin %> log set debug --for 10m --meta 10.0.0.1:7400',
    '<%= config.bin %> log set info,peer=debug,map=debug --server 10.0.0.5:7401',
  ];
  static override args = {levels: Args.string({required: true, description: 'what to log'})};
  static override flags = {
    ...levelFlags,
    for: Flags.string({summary: 'for how long: 10m, 1h …; without, until it is changed again'}),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(LogSet);
    const levels = String(parseValue(settingOf('log.level'), args.levels, 'LEVELS'));
    const seconds = flags.for === undefined ? 0 : parseDuration(flags.for);
    if (
      seconds === null ||
      seconds > DAYS_MAX * 86_400 ||
      (flags.for !== undefined && seconds === 0)
    )
      throw new CliError(
        `--for is a time of at most ${DAYS_MAX} days such as 10m, not '${flags.for}'`,
        EXIT.usage,
      );
    const {steerAll} = await import('../../roles/support/servers.js');
    const request = {levels, forMs: seconds * 1000};
    const asked = await steerAll(metas(flags.meta), flags.timeout * 1000, flags.server, request);
    this.log(levelsText(asked, flags.output));
  }
}
