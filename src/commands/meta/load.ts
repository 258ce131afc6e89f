import {Args, Flags} from '@oclif/core';
import {CpfsCommand} from '../_base.js';
import {setting} from '../_settings.js';

export default class MetaLoad extends CpfsCommand {
  static override summary = "Make the folder of a meta server from what 'cpfs meta dump' printed.";
  static override description =
    'The folder has the very state that was dumped, and goes on from there. It is for a meta server that has not run since the dump was made: if it has, data ' +
    "servers know of newer files, and 'cpfs meta restore' of a backup is the way back. A dump that was changed by hand is taken with --edited; look " +
    "at the folder with 'cpfs check --state' then.";
  static override examples = [
    '<%= config.bin %> meta load state.jsonl --state /var/lib/cpfs/meta',
    'gunzip < state.jsonl.gz | <%= config.bin %> meta load - --state /var/lib/cpfs/meta',
  ];
  static override args = {
    file: Args.string({required: true, description: 'the dump; -: standard input'}),
  };
  static override flags = {
    state: setting('meta.state', {summary: 'folder that is made; it must be empty, or missing'}),
    edited: Flags.boolean({summary: 'lines were changed: do not look at their sum and order'}),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(MetaLoad);
    const {load} = await import('../../roles/meta/dump.js');
    const {cluster, sequence, rows} = await load(args.file, flags.state, flags.edited);
    this.log(
      `made ${flags.state} of ${rows} entries: cluster ${cluster} up to record ${sequence}; start it with cpfs meta start --state ${flags.state}, unless the cluster has gone on since the dump`,
    );
  }
}
