import {Flags} from '@oclif/core';
import {CliError, EXIT} from '../../roles/cli-error.js';
import type {RebuildReport} from '../../roles/meta/rebuild.js';
import {address, CpfsCommand, howToStart, outputFlag} from '../_base.js';
import {setting} from '../_settings.js';

export default class MetaRebuild extends CpfsCommand {
  static override summary =
    'Make the folder of a meta server from the data servers, when all meta servers are lost.';
  static override description =
    'Data servers keep backtraces: a copy of names, attributes, layouts and small files, as of a few seconds ago. This command reads them, makes them one ' +
    'tree, and compares it with the columns that there are. What changed in the last seconds may be older. What has no name any more is put into ' +
    'lost+found, under its number. The data servers must run, and need no meta server for it; those that are not named are found by the map. ' +
    'Exit code 0: the folder was made; 9: too much is missing, or the folder is not empty.';
  static override examples = [
    '<%= config.bin %> meta rebuild --from-data 10.0.0.5:7401,10.0.0.6:7401 --state /var/lib/cpfs/meta',
    '<%= config.bin %> meta rebuild --from-data 10.0.0.5:7401 --dry-run',
  ];
  static override flags = {
    'from-data': Flags.string({
      summary: 'addresses of data servers, HOST:PORT, with commas between',
      required: true,
    }),
    state: setting('meta.state', {summary: 'folder that is made; it must be empty, or missing'}),
    'dry-run': Flags.boolean({summary: 'read and judge everything, and make nothing'}),
    force: Flags.boolean({
      summary: 'go on although servers are missing: what only they know is lost',
    }),
    output: outputFlag,
    timeout: setting('client.timeout', {default: 5, summary: 'time to wait for each data server'}),
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(MetaRebuild);
    const servers = flags['from-data'].split(',').map((one) => address(one.trim(), '--from-data'));
    if (new Set(servers).size < servers.length)
      throw new CliError('--from-data names a server twice', EXIT.usage);
    const {rebuild} = await import('../../roles/meta/rebuild.js');
    const json = flags.output === 'json';
    const {state, force, timeout} = flags;
    const dryRun = flags['dry-run'];
    const report = await rebuild(
      {servers, state, dryRun, force, timeoutMs: timeout * 1000},
      (line) => process.stderr.write(`cpfs: ${line}\n`),
    );
    if (json) this.log(JSON.stringify(report, null, 2));
    else for (const line of lines(report)) this.log(line);
  }
}

function lines(r: RebuildReport): string[] {
  const text = [
    `cluster ${r.cluster}: ${r.files} files, ${r.directories} directories, ${r.others} others, ${r.orphans} without a name that were open`,
    `as of ${r.asOf} (batch ${r.batch}), ${r.ageSeconds} s ago; what changed after it may be older, or missing`,
    `${r.servers.length} data servers answered, ${r.missing.length} did not`,
  ];
  for (const {group, slot, address: at} of r.missing)
    text.push(`missing: ${group}.${slot} (${at})`);
  const {lacking, older, damaged, total} = r.shards;
  if (lacking + older + damaged > 0)
    text.push(`of ${total} shards ${lacking} are lacking, ${older} older, ${damaged} damaged`);
  const some: [number, string][] = [
    [r.unnamed, 'objects without a name, in lost+found'],
    [r.strays, 'files of which only columns are left, in lost+found'],
    [r.namesLost, `names whose object has no record: ${r.namesLostQuoted.slice(0, 10).join(', ')}`],
    [r.namesDropped, 'names that others have replaced'],
    [r.mended, 'counts of links and places of names, mended'],
    [r.bytesLost, 'small files whose bytes are lost; they are empty'],
    [r.moved, 'objects that were moved later than their record says; see cpfs check'],
    [r.remains, 'objects that were removed, and of which columns are left; they are removed'],
  ];
  for (const [count, what] of some) if (count > 0) text.push(`${count} ${what}`);
  text.push(r.uncertain === 0 ? 'nothing is uncertain' : `${r.uncertain} uncertain`);
  text.push(r.state === null ? 'nothing was made' : `made ${r.state}; ${howToStart(r.state)}`);
  return text;
}
