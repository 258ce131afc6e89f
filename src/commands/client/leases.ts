import {CpfsCommand, metas} from '../_base.js';
import {holdingsFlags, table} from './_holdings.js';

export default class ClientLeases extends CpfsCommand {
  static override summary = 'List what clients may cache: their leases on files and folders.';
  static override examples = [
    '<%= config.bin %> client leases --meta 127.0.0.1:7400',
    '<%= config.bin %> client leases --session 7 -o json',
  ];
  static override flags = holdingsFlags;

  async run(): Promise<void> {
    const {flags} = await this.parse(ClientLeases);
    const {fetchLeases} = await import('../../roles/holdings.js');
    const meta = metas(flags.meta);
    const {leases, total} = await fetchLeases(meta, flags.timeout * 1000, flags);
    if (flags.output === 'json') {
      this.log(JSON.stringify({version: 1, total, leases}, null, 2));
      return;
    }
    const rows = leases.map((one) => [
      `${one.session}`,
      one.ranges > 0 ? `${one.mode} (${one.ranges} ranges)` : one.mode,
      one.type,
      one.recalled ? 'recalled' : '',
      `${one.inode}`,
      one.path ?? '-',
    ]);
    this.log(table([['CLIENT', 'MODE', 'TYPE', 'STATE', 'INODE', 'PATH'], ...rows], total));
  }
}
