import {CpfsCommand, keysFile, keysFlag} from '../_base.js';

export default class AuthRotate extends CpfsCommand {
  static override summary =
    'Begin to replace the key of the cluster: make another one, which is accepted, too.';
  static override description =
    "Nothing stops: copy the file to all servers, which notice within a second; then 'cpfs auth use' the new key and copy it again; make new credentials for " +
    "clients; and at last 'cpfs auth forget' the old key.";
  static override examples = ['<%= config.bin %> auth rotate'];
  static override flags = {keys: keysFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(AuthRotate);
    const {addKey} = await import('../../roles/keys.js');
    const path = keysFile(flags.keys);
    const id = addKey(path);
    process.stderr.write(
      `key ${id} is accepted from now on; copy ${path} to all servers, then 'cpfs auth use ${id}'\n`,
    );
  }
}
