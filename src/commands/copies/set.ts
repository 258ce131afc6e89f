import {Flags} from '@oclif/core';
import {parseSize} from '../../core/base/units.js';
import {CliError, EXIT} from '../../roles/cli-error.js';
import type {ReadCopyPolicy} from '../../roles/copies.js';
import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';
import {parseTime} from '../scrub/_status.js';

export default class CopiesSet extends CpfsCommand {
  static override summary =
    'Set when files that are read often get read copies on more servers, and how much space these may take.';
  static override examples = [
    '<%= config.bin %> copies set --most 4 --share 10',
    '<%= config.bin %> copies set --min-read 32MiB --cold 1h',
    '<%= config.bin %> copies set --most 0',
  ];
  static override flags = {
    meta: metaFlag,
    most: Flags.integer({
      summary:
        'read copies of one chunk at the same time; 0: none are made, and those that there are go',
      min: 0,
      max: 8,
    }),
    'min-read': Flags.string({
      summary:
        'what one server must read of a chunk in a second before it gets one; a request counts as 16KiB more',
    }),
    for: Flags.string({summary: 'for how long it must be so: 5s, 1min …'}),
    share: Flags.integer({summary: 'percent of each disk that they may take', min: 0, max: 50}),
    cold: Flags.string({summary: 'one that nobody reads for so long goes: 10min, 1h …'}),
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(CopiesSet);
    const {readCopies} = await import('../../roles/copies.js');
    const change: Partial<ReadCopyPolicy> = {};
    if (flags.most !== undefined) change.most = flags.most;
    if (flags.share !== undefined) change.share = flags.share * 10;
    if (flags['min-read'] !== undefined) {
      const weight = parseSize(flags['min-read']);
      if (weight === null || weight === 0)
        throw new CliError(
          `--min-read is a size such as 8MiB, not '${flags['min-read']}'`,
          EXIT.usage,
        );
      change.weight = weight;
    }
    if (flags.cold !== undefined) change.coldS = timeOf('--cold', flags.cold);
    if (flags.for !== undefined) change.afterS = timeOf('--for', flags.for);
    if (Object.keys(change).length === 0)
      throw new CliError(
        'nothing to set; give --most, --min-read, --for, --share or --cold',
        EXIT.usage,
      );
    await readCopies(metas(flags.meta), flags.timeout * 1000, change);
  }
}

/** Seconds. */
function timeOf(flag: string, text: string): number {
  const seconds = parseTime(text);
  if (seconds === null || seconds === 0)
    throw new CliError(`${flag} is a time such as 10min, not '${text}'`, EXIT.usage);
  return seconds;
}
