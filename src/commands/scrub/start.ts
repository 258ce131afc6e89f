import {Flags} from '@oclif/core';
import {EXIT} from '../../roles/cli-error.js';
import {CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from '../_base.js';
import {scrubTable} from './_status.js';

export default class ScrubStart extends CpfsCommand {
  static override summary =
    'Have all servers go through what they store now, from the start: each block against its sum, and redundancy against data.';
  static override description =
    'What is damaged is made again from the other servers; what cannot be is left as it is, reads as EIO, and is shown as lost. Without this command a ' +
    'pass begins by itself a week after the last one. Ends a pause.';
  static override examples = [
    '<%= config.bin %> scrub start --meta 127.0.0.1:7400',
    '<%= config.bin %> scrub start --deep --wait',
  ];
  static override flags = {
    meta: metaFlag,
    output: outputFlag,
    deep: Flags.boolean({summary: 'also compute redundancy from the data again: reads all of it'}),
    wait: Flags.boolean({
      summary: `until every connected server has ended the pass; exit with ${EXIT.degraded} when bytes are lost`,
    }),
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(ScrubStart);
    const {scrub, scrubAll} = await import('../../roles/scrub.js');
    const {deep} = flags;
    const meta = metas(flags.meta);
    const timeoutMs = flags.timeout * 1000;
    if (!flags.wait) {
      await scrub(meta, timeoutMs, {start: true, deep});
      return;
    }
    const status = await scrubAll(meta, timeoutMs, deep);
    this.log(flags.output === 'json' ? JSON.stringify(status, null, 2) : scrubTable(status));
    if (status.servers.some(({lost}) => lost > 0)) process.exitCode = EXIT.degraded;
  }
}
