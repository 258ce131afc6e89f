import {Args, Flags} from '@oclif/core';
import type {RestoreReport} from '../../roles/meta/restore.js';
import {CpfsCommand, howToStart, outputFlag} from '../_base.js';
import {setting} from '../_settings.js';

export default class MetaRestore extends CpfsCommand {
  static override summary = 'Make the folder of a meta server from a backup.';
  static override description =
    'All meta servers must be stopped. The backup is read and every sum in it checked. Then the data servers that it names are asked what has happened ' +
    'since: ids, epochs and terms go on above all that they have seen, files that are younger than the backup go to lost+found, and files that have ' +
    "grown are as long as their columns. If the data servers' own copy of the names (backtraces) is newer than the backup, nothing is made without " +
    "--accept-loss: 'cpfs meta rebuild --from-data' makes more of it. Exit code 0: the folder was made; 4: it is not empty; 9: the data servers know more.";
  static override examples = [
    '<%= config.bin %> meta restore /backup/cpfs --dry-run',
    '<%= config.bin %> meta restore /backup/cpfs --state /var/lib/cpfs/meta',
  ];
  static override args = {
    folder: Args.string({required: true, description: "folder of 'cpfs meta backup'"}),
  };
  static override flags = {
    state: setting('meta.state', {summary: 'folder that is made; it must be empty, or missing'}),
    'dry-run': Flags.boolean({summary: 'check everything, and make nothing'}),
    'accept-loss': Flags.boolean({
      summary: 'go back to the backup although the data servers know more',
    }),
    force: Flags.boolean({
      summary: 'go on although data servers do not answer: what only they know is lost',
    }),
    output: outputFlag,
    timeout: setting('client.timeout', {default: 5, summary: 'time to wait for each data server'}),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(MetaRestore);
    const {restore} = await import('../../roles/meta/restore.js');
    const {state, force, timeout} = flags;
    const report = await restore(
      {
        folder: args.folder,
        state,
        force,
        dryRun: flags['dry-run'],
        acceptLoss: flags['accept-loss'],
        timeoutMs: timeout * 1000,
      },
      (line) => process.stderr.write(`cpfs: ${line}\n`),
    );
    if (flags.output === 'json') this.log(JSON.stringify(report, null, 2));
    else for (const line of lines(report)) this.log(line);
  }
}

function lines(r: RestoreReport): string[] {
  const text = [
    `the backup is whole: ${r.parts} files of ${r.bytes} bytes, up to record ${r.sequence}, of ${r.asOf}`,
    `cluster ${r.cluster}: ${r.files} files, ${r.directories} directories, ${r.others} others, ${r.orphans} without a name that were open`,
    `${r.servers.length} data servers answered, ${r.missing.length} did not`,
  ];
  for (const {group, slot, address: at} of r.missing)
    text.push(`missing: ${group}.${slot} (${at}); what only it knows is lost`);
  if (r.newer !== null) {
    text.push(
      `the data servers have the state of ${r.newer.asOf}, ${r.newer.batches} batches after the backup: cpfs meta rebuild --from-data may know more`,
    );
  }
  const some: [number, string][] = [
    [r.strays, 'files that are younger than the backup, in lost+found'],
    [r.grown, 'files that have grown since: they are as long as their columns'],
    [
      r.hollow,
      `files that were removed since: they are back, and read as zeros; inode ${r.hollowOids.slice(0, 10).join(', ')}`,
    ],
    [r.unnamed, 'objects without a name, in lost+found'],
    [r.mended, 'counts of links and places of names, mended'],
    [r.bytesLost, 'small files whose bytes are lost; they are empty'],
    [r.moved, 'objects that were moved since; see cpfs check'],
    [r.remains, 'objects that were removed, and of which columns are left; they are removed'],
  ];
  for (const [count, what] of some) if (count > 0) text.push(`${count} ${what}`);
  text.push(r.state === null ? 'nothing was made' : `made ${r.state}; ${howToStart(r.state)}`);
  return text;
}
