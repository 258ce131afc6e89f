import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';
import {text} from './status.js';

export default class UpgradeFinalize extends CpfsCommand {
  static override summary =
    'Switch on what the newer release has, when all nodes have it; older releases cannot take part after that.';
  static override examples = ['<%= config.bin %> upgrade finalize --meta 127.0.0.1:7400'];
  static override flags = {meta: metaFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(UpgradeFinalize);
    const {finalizeUpgrade} = await import('../../roles/upgrade.js');
    this.log(text(await finalizeUpgrade(metas(flags.meta), flags.timeout * 1000)));
  }
}
