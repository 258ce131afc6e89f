import {Args} from '@oclif/core';
import {CpfsCommand, keysFlag} from './_base.js';

export default class Join extends CpfsCommand {
  static override summary = 'Make this machine a node of a cluster, with a token.';
  static override description =
    "Fetches the keys of this node and writes them (/etc/cpfs/keys), and where the meta servers are (/etc/cpfs/cpfs.toml, if it is not there): then 'cpfs data start', 'cpfs mount' " +
    "and all other commands need neither. 'cpfs token create' makes the token. A machine that has keys stays as it is.";
  static override examples = ['<%= config.bin %> join cpfs1.WyJ0MTo1ZDQxNDAy...'];
  static override args = {
    token: Args.string({required: true, description: "as 'token create' printed it"}),
  };
  static override flags = {keys: keysFlag};

  async run(): Promise<void> {
    const {args} = await this.parse(Join);
    const {joinBy} = await import('../roles/join.js');
    const {notes} = await joinBy(args.token);
    for (const note of notes) process.stderr.write(`${note}\n`);
  }
}
