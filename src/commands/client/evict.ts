import {Args, Flags} from '@oclif/core';
import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';

export default class ClientEvict extends CpfsCommand {
  static override summary =
    'End the session of a client: no server takes anything from it any more, and what it held is free.';
  static override description =
    'For a client that hangs and holds what others wait for, and is not fenced by itself because it still talks to the meta server. What ' +
    'it had not written back is lost, and its programs get EIO; its mount goes on with a new session.';
  static override examples = ['<%= config.bin %> client evict 7 --yes --meta 127.0.0.1:7400'];
  static override args = {
    session: Args.integer({required: true, min: 1, description: "its number in 'client list'"}),
  };
  static override flags = {
    meta: metaFlag,
    timeout: timeoutFlag,
    yes: Flags.boolean({summary: 'even if it is alive and holds leases'}),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(ClientEvict);
    const {evict} = await import('../../roles/admin.js');
    await evict(metas(flags.meta), flags.timeout * 1000, args.session, flags.yes);
  }
}
