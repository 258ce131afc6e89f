import {Flags} from '@oclif/core';
import {EXIT} from '../../roles/cli-error.js';
import {CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from '../_base.js';
import {scrubTable} from './_status.js';

export default class ScrubStatus extends CpfsCommand {
  static override summary =
    'Show how far servers have come in going through what they store, and what they found.';
  static override description =
    'Counts are of the pass that is under way, or else of the last one. A chunk is skipped when it is in doubt, as after a crash, or when ' +
    'not all of its servers are there; the next pass comes back to it.';
  static override examples = [
    '<%= config.bin %> scrub status --meta 127.0.0.1:7400',
    '<%= config.bin %> scrub status -o json --exit-code',
  ];
  static override flags = {
    meta: metaFlag,
    output: outputFlag,
    'exit-code': Flags.boolean({summary: `exit with ${EXIT.degraded} when bytes are lost`}),
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(ScrubStatus);
    const {scrub} = await import('../../roles/scrub.js');
    const status = await scrub(metas(flags.meta), flags.timeout * 1000);
    this.log(flags.output === 'json' ? JSON.stringify(status, null, 2) : scrubTable(status));
    if (flags['exit-code'] && status.servers.some(({lost}) => lost > 0))
      process.exitCode = EXIT.degraded;
  }
}
