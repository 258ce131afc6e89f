import {CpfsCommand, outputFlag} from '../_base.js';
import {setting} from '../_settings.js';

export default class MetaCompact extends CpfsCommand {
  static override summary = 'Give back the disk space that a stopped meta server needs no more.';
  static override description =
    'The store keeps the space of what was removed for what comes; the log keeps the last records for standbys and incremental backups. This command puts the log ' +
    'into the store, writes the store anew without gaps, and removes the log. It needs free space for a copy of what is in the store. A standby that is ' +
    'behind, and the next backup, copy everything once. If it is stopped half way, the folder is as good as before.';
  static override examples = ['<%= config.bin %> meta compact --state /var/lib/cpfs/meta'];
  static override flags = {
    state: setting('meta.state', {summary: 'folder of a meta server that does not run'}),
    output: outputFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(MetaCompact);
    const {compact} = await import('../../roles/meta/compact.js');
    const report = await compact(flags.state);
    const {store, log} = report;
    if (flags.output === 'json') this.log(JSON.stringify(report, null, 2));
    else {
      this.log(`store: ${store.before} bytes before, ${store.after} after`);
      this.log(`log: ${log.before} bytes before, ${log.after} after`);
    }
  }
}
