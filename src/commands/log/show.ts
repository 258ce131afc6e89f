import {CpfsCommand, metas} from '../_base.js';
import {levelFlags, levelsText} from './_levels.js';

export default class LogShow extends CpfsCommand {
  static override summary = 'Show what servers log.';
  static override examples = ['<%= config.bin %> log show --meta 10.0.0.1:7400'];
  static override flags = levelFlags;

  async run(): Promise<void> {
    const {flags} = await this.parse(LogShow);
    const {steerAll} = await import('../../roles/support/servers.js');
    const asked = await steerAll(metas(flags.meta), flags.timeout * 1000, flags.server, {});
    this.log(levelsText(asked, flags.output));
  }
}
