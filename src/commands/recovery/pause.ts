import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';

export default class RecoveryPause extends CpfsCommand {
  static override summary = 'Have servers that lack something wait before they rebuild more of it.';
  static override examples = ['<%= config.bin %> recovery pause --meta 127.0.0.1:7400'];
  static override flags = {meta: metaFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(RecoveryPause);
    const {changeRecovery} = await import('../../roles/servers.js');
    const meta = metas(flags.meta);
    await changeRecovery(meta, flags.timeout * 1000, {paused: true});
  }
}
