import {CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from '../_base.js';

export default class ClientList extends CpfsCommand {
  static override summary =
    'List the clients that the meta server knows: mounts and repair agents.';
  static override examples = ['<%= config.bin %> client list --meta 127.0.0.1:7400'];
  static override flags = {meta: metaFlag, output: outputFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(ClientList);
    const {fetchStatus} = await import('../../roles/admin.js');
    const {sessionLine} = await import('../../roles/status-table.js');
    const {sessions} = await fetchStatus(metas(flags.meta), flags.timeout * 1000);
    if (flags.output === 'json') this.log(JSON.stringify({version: 1, sessions}, null, 2));
    else for (const session of sessions) this.log(sessionLine(session));
  }
}
