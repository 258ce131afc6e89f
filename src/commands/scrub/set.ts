import {Flags} from '@oclif/core';
import {parseSize} from '../../core/base/units.js';
import {CliError, EXIT} from '../../roles/cli-error.js';
import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';
import {parseTime} from './_status.js';

export default class ScrubSet extends CpfsCommand {
  static override summary = 'Set how fast and how often servers go through what they store.';
  static override examples = [
    '<%= config.bin %> scrub set --rate 100MiB',
    '<%= config.bin %> scrub set --interval 30d',
    '<%= config.bin %> scrub set --interval never',
  ];
  static override flags = {
    meta: metaFlag,
    rate: Flags.string({
      summary:
        'bytes a second that one server reads at most; a quarter of it while it serves clients',
    }),
    interval: Flags.string({
      summary: 'from the end of a pass to the next one: 7d, 12h, 30min …; never: only when told',
    }),
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(ScrubSet);
    const {scrub} = await import('../../roles/scrub.js');
    const rate = flags.rate === undefined ? 0 : parseSize(flags.rate);
    if (rate === null || (flags.rate !== undefined && rate === 0))
      throw new CliError(`--rate is a size such as 20MiB, not '${flags.rate}'`, EXIT.usage);
    const interval = flags.interval === undefined ? 0 : intervalOf(flags.interval);
    if (rate === 0 && interval === 0)
      throw new CliError('nothing to set; give --rate or --interval', EXIT.usage);
    const settings = {paused: 0, rate, interval};
    await scrub(metas(flags.meta), flags.timeout * 1000, {settings});
  }
}

/** As in the message: 1 is never, else the seconds and one more. */
function intervalOf(text: string): number {
  if (text === 'never') return 1;
  const seconds = parseTime(text);
  if (seconds === null || seconds === 0)
    throw new CliError(`--interval is a time such as 7d, or never, not '${text}'`, EXIT.usage);
  return seconds + 1;
}
