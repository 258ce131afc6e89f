import {Args} from '@oclif/core';
import {CpfsCommand, keysFile, keysFlag} from '../_base.js';

export default class AuthRevoke extends CpfsCommand {
  static override summary = 'Take a credential back.';
  static override description =
    'Adds it to the file of keys, which is to be copied to all servers: they notice within a second or two, let its holder in no more, and end its connections and ' +
    'sessions.';
  static override examples = ['<%= config.bin %> auth revoke 0f3a5c7d9e1b'];
  static override args = {
    serial: Args.string({required: true, description: "as in the credential, and 'auth show'"}),
  };
  static override flags = {keys: keysFlag};

  async run(): Promise<void> {
    const {args, flags} = await this.parse(AuthRevoke);
    const {revoke} = await import('../../roles/keys.js');
    revoke(keysFile(flags.keys), args.serial);
  }
}
