import {Args} from '@oclif/core';
import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';

export default class TokenRevoke extends CpfsCommand {
  static override summary = 'Take a token back: nobody joins with it any more.';
  static override description =
    "Machines that have joined with it stay: 'cpfs auth revoke' takes the credential of a client back, and 'cpfs auth rotate' begins to replace the key of servers.";
  static override examples = ['<%= config.bin %> token revoke 0f3a5c7d9e1b'];
  static override args = {id: Args.string({required: true, description: "as in 'token list'"})};
  static override flags = {meta: metaFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {args, flags} = await this.parse(TokenRevoke);
    const {revokeToken} = await import('../../roles/tokens.js');
    await revokeToken(metas(flags.meta), flags.timeout * 1000, args.id);
  }
}
