import {CpfsCommand, metas} from '../_base.js';
import {holdingsFlags, table} from './_holdings.js';

export default class ClientLocks extends CpfsCommand {
  static override summary = 'List the locks that programs hold or wait for (fcntl and flock).';
  static override examples = [
    '<%= config.bin %> client locks --meta 127.0.0.1:7400',
    '<%= config.bin %> client locks --inode 42 -o json',
  ];
  static override flags = holdingsFlags;

  async run(): Promise<void> {
    const {flags} = await this.parse(ClientLocks);
    const {fetchLocks} = await import('../../roles/holdings.js');
    const meta = metas(flags.meta);
    const {locks, total} = await fetchLocks(meta, flags.timeout * 1000, flags);
    if (flags.output === 'json') {
      this.log(JSON.stringify({version: 1, total, locks}, null, 2));
      return;
    }
    const rows = locks.map((one) => [
      `${one.session}`,
      `${one.pid}`,
      one.kind,
      one.type,
      one.state,
      `${one.start}`,
      one.length === null ? 'to the end' : `${one.length}`,
      `${one.inode}`,
      one.path ?? '-',
    ]);
    const head = ['CLIENT', 'PID', 'KIND', 'TYPE', 'STATE', 'START', 'LENGTH', 'INODE', 'PATH'];
    this.log(table([head, ...rows], total));
  }
}
