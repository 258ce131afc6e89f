import {Args} from '@oclif/core';
import {CpfsCommand, keysFile, keysFlag} from '../_base.js';

export default class AuthForget extends CpfsCommand {
  static override summary = 'Remove a key of the cluster that is not in use any more.';
  static override description =
    'Credentials that were made with it are of no use where the file has been copied to.';
  static override examples = ['<%= config.bin %> auth forget 5d41402a'];
  static override args = {key: Args.string({required: true, description: "id, as in 'auth show'"})};
  static override flags = {keys: keysFlag};

  async run(): Promise<void> {
    const {args, flags} = await this.parse(AuthForget);
    const {forget} = await import('../../roles/keys.js');
    forget(keysFile(flags.keys), args.key);
  }
}
