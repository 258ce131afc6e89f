import {CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from '../_base.js';
import {maintenanceText} from './_text.js';

export default class MaintenanceStatus extends CpfsCommand {
  static override summary = 'Show whether servers are away by intent, and for how long yet.';
  static override examples = ['<%= config.bin %> maintenance status --meta 10.0.0.1:7400'];
  static override flags = {meta: metaFlag, output: outputFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(MaintenanceStatus);
    const {maintenanceStatus} = await import('../../roles/life.js');
    const status = await maintenanceStatus(metas(flags.meta), flags.timeout * 1000);
    this.log(flags.output === 'json' ? JSON.stringify(status, null, 2) : maintenanceText(status));
  }
}
