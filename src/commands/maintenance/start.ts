import {Args, Flags} from '@oclif/core';
import {CliError, EXIT} from '../../roles/cli-error.js';
import {parseDuration} from '../../roles/config/values.js';
import {CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from '../_base.js';
import {maintenanceText} from './_text.js';

const DAYS_MAX = 7;

export default class MaintenanceStart extends CpfsCommand {
  static override summary = 'Say that servers will be away for a while: nobody takes their place.';
  static override description =
    'A server that is away gives its slot to one that waits for one after a time (--out-after of the meta server), which copies everything that it had. Not so during a ' +
    'maintenance; when it ends, by itself or by maintenance stop, that time begins. Nothing else changes: what is written meanwhile is less redundant, and is made up for when the server is back.';
  static override examples = [
    '<%= config.bin %> maintenance start host3 --for 1h --why "new memory" --meta 10.0.0.1:7400',
    '<%= config.bin %> maintenance start 1.2 10.0.0.14:7401 --for 30min',
    '<%= config.bin %> maintenance start --for 4h',
  ];
  static override strict = false;
  static override args = {
    server: Args.string({
      description:
        'GROUP.SLOT, address, failure domain (host), or the beginning of the id; several may be named; none: all servers',
    }),
  };
  static override flags = {
    for: Flags.string({
      summary: `for how long: 30min, 2h …; at most ${DAYS_MAX} days`,
      required: true,
    }),
    why: Flags.string({summary: 'for those who look at it', default: ''}),
    meta: metaFlag,
    output: outputFlag,
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {argv, flags} = await this.parse(MaintenanceStart);
    const seconds = parseDuration(flags.for);
    if (seconds === null || seconds < 1 || seconds > DAYS_MAX * 86_400)
      throw new CliError(
        `--for is a time of at most ${DAYS_MAX} days such as 30min, not '${flags.for}'`,
        EXIT.usage,
      );
    const {beginMaintenance} = await import('../../roles/life.js');
    const order = {names: argv as string[], forMs: Math.round(seconds * 1000), why: flags.why};
    const status = await beginMaintenance(metas(flags.meta), flags.timeout * 1000, order);
    this.log(flags.output === 'json' ? JSON.stringify(status, null, 2) : maintenanceText(status));
  }
}
