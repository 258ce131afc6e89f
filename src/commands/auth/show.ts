import type {Limits} from '../../core/base/identity.js';
import {CpfsCommand, keysFile, keysFlag, outputFlag} from '../_base.js';

export default class AuthShow extends CpfsCommand {
  static override summary = 'Show what a file of keys is, without its secrets.';
  static override examples = [
    '<%= config.bin %> auth show',
    '<%= config.bin %> auth show --keys alice.keys -o json',
  ];
  static override flags = {keys: keysFlag, output: outputFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(AuthShow);
    const {showKeys} = await import('../../roles/keys.js');
    const shown = showKeys(keysFile(flags.keys));
    if (flags.output === 'json') {
      this.log(JSON.stringify(shown, null, 2));
      return;
    }
    const {path, cluster, client, revoked} = shown;
    const [inUse, ...others] = cluster;
    if (inUse !== undefined)
      this.log(
        `${path}: a server's; key ${inUse} in use${others.length === 0 ? '' : `, also accepted: ${others.join(', ')}`}`,
      );
    if (client !== null) {
      const {name, rights, serial, until, limits} = client;
      const end = until === 0 ? 'does not expire' : `until ${new Date(until * 1000).toISOString()}`;
      this.log(`${path}: client ${name}, rights ${rights}, serial ${serial}, ${end}`);
      if (limits !== null) this.log(`limits: ${limitsText(limits)}`);
    }
    if (revoked.length > 0) this.log(`revoked: ${revoked.join(', ')}`);
  }
}

function limitsText({path, squash, bytes}: Limits): string {
  const parts = [
    path === '' ? '' : `only ${path}`,
    squash === null ? '' : `root is ${squash.uid}:${squash.gid}`,
    bytes === 0 ? '' : `shows ${bytes} bytes`,
  ];
  return parts.filter((part) => part !== '').join(', ');
}
