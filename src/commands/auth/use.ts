import {Args} from '@oclif/core';
import {CpfsCommand, keysFile, keysFlag} from '../_base.js';

export default class AuthUse extends CpfsCommand {
  static override summary = 'Prove by this key of the file from now on; the others stay accepted.';
  static override examples = ['<%= config.bin %> auth use 5d41402a'];
  static override args = {key: Args.string({required: true, description: "id, as in 'auth show'"})};
  static override flags = {keys: keysFlag};

  async run(): Promise<void> {
    const {args, flags} = await this.parse(AuthUse);
    const {useKey} = await import('../../roles/keys.js');
    useKey(keysFile(flags.keys), args.key);
  }
}
