import {CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from '../_base.js';
import {maintenanceText} from './_text.js';

export default class MaintenanceStop extends CpfsCommand {
  static override summary =
    'End a maintenance: servers that are still away give their slots to others after the usual time.';
  static override examples = ['<%= config.bin %> maintenance stop --meta 10.0.0.1:7400'];
  static override flags = {meta: metaFlag, output: outputFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(MaintenanceStop);
    const {endMaintenance} = await import('../../roles/life.js');
    const status = await endMaintenance(metas(flags.meta), flags.timeout * 1000);
    this.log(flags.output === 'json' ? JSON.stringify(status, null, 2) : maintenanceText(status));
  }
}
