import {CpfsCommand, keysFile, keysFlag} from './_base.js';

export default class Init extends CpfsCommand {
  static override summary = 'Make the key of a new cluster.';
  static override description =
    'Whoever has the file is a server of the cluster: copy it to each of them, with the mode 0600. All roles use it from then on, and let nobody in who ' +
    "proves nothing. For clients make credentials with 'cpfs auth create'.";
  static override examples = [
    '<%= config.bin %> init',
    '<%= config.bin %> init --keys cluster.keys',
  ];
  static override flags = {keys: keysFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(Init);
    const {makeCluster} = await import('../roles/keys.js');
    const path = keysFile(flags.keys);
    makeCluster(path);
    process.stderr.write(`${path} is the key of a new cluster; copy it to each of its servers\n`);
  }
}
