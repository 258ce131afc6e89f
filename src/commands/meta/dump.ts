import {Args, Flags} from '@oclif/core';
import {CliError, EXIT} from '../../roles/cli-error.js';
import {CpfsCommand} from '../_base.js';

export default class MetaDump extends CpfsCommand {
  static override summary =
    'Print the state of a meta server that does not run, or of a backup, as readable text.';
  static override description =
    'A line of JSON for each entry: inodes with their attributes and layouts, names, symbolic links, extended attributes, small files, sessions, replies, ' +
    'the cluster map. The first line says which cluster and which record of the log it is, the last one how many lines there are and their sum. ' +
    "'cpfs meta load' makes a folder from it. Nothing in the folder, or the backup, changes.";
  static override examples = [
    '<%= config.bin %> meta dump --state /var/lib/cpfs/meta > state.jsonl',
    '<%= config.bin %> meta dump /backup/cpfs | grep small-file',
  ];
  static override args = {
    backup: Args.string({description: "folder of 'cpfs meta backup', in place of --state"}),
  };
  static override flags = {
    state: Flags.string({
      summary: 'folder of a meta server; that of the configuration if no backup is named',
    }),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(MetaDump);
    if (args.backup !== undefined && flags.state !== undefined)
      throw new CliError('name a backup or --state, not both', EXIT.usage);
    const {dumpBackup, dumpFolder} = await import('../../roles/meta/dump.js');
    if (args.backup !== undefined) await dumpBackup(args.backup, process.stdout);
    else {
      const state = flags.state ?? (await this.settings(['meta.state'])).get('meta.state');
      await dumpFolder(state, process.stdout);
    }
  }
}
