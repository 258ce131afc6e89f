import {Flags} from '@oclif/core';
import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';

export default class ClusterStart extends CpfsCommand {
  static override summary =
    'Wait until a cluster that was shut down is open, and say who is missing.';
  static override description =
    'Servers are started on their hosts, in any order (systemctl start cpfs-meta cpfs-data@1, or by the boot). A cluster that was shut down opens when all data servers ' +
    'are back that were there, or 5 minutes after its meta server: nothing is written without those that only boot more slowly. --now opens it at once, without those that ' +
    'are missing, and takes back a shutdown that has come to nothing.';
  static override examples = [
    '<%= config.bin %> cluster start --meta 10.0.0.1:7400',
    '<%= config.bin %> cluster start --now',
  ];
  static override flags = {
    meta: metaFlag,
    timeout: timeoutFlag,
    wait: Flags.integer({summary: 'seconds to wait for the servers', default: 300, min: 1}),
    now: Flags.boolean({summary: 'open it without those that are missing'}),
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(ClusterStart);
    const {startUp} = await import('../../roles/life.js');
    const {now, wait, timeout} = flags;
    const options = {now, timeoutMs: timeout * 1000, patienceMs: wait * 1000};
    await startUp(metas(flags.meta), options, (line) => this.log(line));
  }
}
