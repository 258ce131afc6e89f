import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';

export default class RecoveryResume extends CpfsCommand {
  static override summary = 'Have servers go on that rebuild what they lack.';
  static override examples = ['<%= config.bin %> recovery resume --meta 127.0.0.1:7400'];
  static override flags = {meta: metaFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(RecoveryResume);
    const {changeRecovery} = await import('../../roles/servers.js');
    const meta = metas(flags.meta);
    await changeRecovery(meta, flags.timeout * 1000, {paused: false});
  }
}
