import {Flags} from '@oclif/core';
import {formatSize, parseSize} from '../../core/base/units.js';
import {CliError, EXIT} from '../../roles/cli-error.js';
import {CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from '../_base.js';

export default class Rebalance extends CpfsCommand {
  static override summary = 'Move files from full groups to empty ones, in the background.';
  static override description =
    'A group is too full when what files have in it is more than the tolerance above the mean of all groups, for its size. Programs go on; ' +
    "'cpfs rebalance status' shows how far it is.";
  static override examples = [
    '<%= config.bin %> rebalance --dry-run',
    '<%= config.bin %> rebalance --tolerance 5 --rate 100MiB --wait',
  ];
  static override flags = {
    meta: metaFlag,
    output: outputFlag,
    tolerance: Flags.integer({summary: 'per cent above the mean', default: 10, min: 0, max: 1000}),
    rate: Flags.string({summary: 'bytes a second that are moved at most, to and from servers'}),
    'dry-run': Flags.boolean({summary: 'print what would be moved, and how long it takes'}),
    wait: Flags.boolean({summary: 'until it is done'}),
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(Rebalance);
    const {addRebalance, moved, planRebalance} = await import('../../roles/moves.js');
    const rate = flags.rate === undefined ? 0 : parseSize(flags.rate);
    if (rate === null || (flags.rate !== undefined && rate === 0))
      throw new CliError(`--rate is a size such as 64MiB, not '${flags.rate}'`, EXIT.usage);
    const meta = metas(flags.meta);
    const timeoutMs = flags.timeout * 1000;
    const {tolerance} = flags;
    if (flags['dry-run']) {
      const {
        objects,
        bytes,
        seconds,
        rate: limit,
      } = await planRebalance(meta, timeoutMs, tolerance, rate);
      if (flags.output === 'json') {
        this.log(JSON.stringify({version: 1, objects, bytes, seconds, rate: limit}, null, 2));
        return;
      }
      this.log(
        `would move ${objects} files, ${bytes} bytes (${formatSize(bytes)}), in about ${Math.ceil(seconds)} s at ${formatSize(limit)}/s`,
      );
      return;
    }
    const id = await addRebalance(meta, timeoutMs, tolerance, rate);
    if (!flags.wait) return;
    const {objects, bytes} = await moved(meta, timeoutMs, id);
    this.log(`moved ${objects} files, ${bytes} bytes (${formatSize(bytes)})`);
  }
}
