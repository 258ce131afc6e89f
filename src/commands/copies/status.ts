import {formatSize} from '../../core/base/units.js';
import type {ReadCopiesReply} from '../../roles/copies.js';
import {alignedRows, CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from '../_base.js';

export default class CopiesStatus extends CpfsCommand {
  static override summary =
    'Show when files that are read often get read copies on more servers, and how much there is of them.';
  static override examples = ['<%= config.bin %> copies status --meta 127.0.0.1:7400'];
  static override flags = {meta: metaFlag, output: outputFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(CopiesStatus);
    const {readCopies} = await import('../../roles/copies.js');
    const reply = await readCopies(metas(flags.meta), flags.timeout * 1000);
    const {policy, servers} = reply;
    if (flags.output === 'json') this.log(JSON.stringify({version: 1, policy, servers}, null, 2));
    else this.log(text(reply));
  }
}

function text({policy, servers}: ReadCopiesReply): string {
  const {most = 0, weight = 0, afterS = 0, share = 0, coldS = 0} = policy ?? {};
  const how =
    most === 0
      ? 'read copies: none are made'
      : `read copies: up to ${most} of a chunk of which a server reads ${formatSize(weight)}/s for ${afterS} s; up to ${share / 10} % of a disk; they go ${coldS} s after the last read`;
  const some = servers.filter(({count, read}) => count > 0 || read > 0);
  if (some.length === 0) return `${how}\nthere are none`;
  const rows = some.map(({group, slot, address: at, count, bytes, read}) => [
    `${group}.${slot}`,
    at,
    String(count),
    formatSize(bytes),
    formatSize(read),
  ]);
  return `${how}\n${alignedRows([['SLOT', 'ADDRESS', 'CHUNKS', 'SIZE', 'READ FROM THEM'], ...rows])}`;
}
