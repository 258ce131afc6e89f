import {Flags} from '@oclif/core';
import {EXIT} from '../roles/cli-error.js';
import {CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from './_base.js';

export default class Status extends CpfsCommand {
  static override summary = 'Show the state of the cluster: groups, servers, sessions.';
  static override examples = [
    '<%= config.bin %> status --meta 127.0.0.1:7400',
    '<%= config.bin %> status -o json --exit-code',
  ];
  static override flags = {
    meta: metaFlag,
    output: outputFlag,
    'exit-code': Flags.boolean({
      summary: `exit with ${EXIT.degraded} when the cluster is not whole`,
    }),
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(Status);
    const {fetchStatus} = await import('../roles/admin.js');
    const {statusTable} = await import('../roles/status-table.js');
    const status = await fetchStatus(metas(flags.meta), flags.timeout * 1000);
    this.log(flags.output === 'json' ? JSON.stringify(status, null, 2) : statusTable(status));
    if (flags['exit-code'] && status.state !== 'ok') process.exitCode = EXIT.degraded;
  }
}
