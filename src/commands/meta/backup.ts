import {Args, Flags} from '@oclif/core';
import type {BackupReport} from '../../roles/meta/backup.js';
import {CpfsCommand, metaFlag, metas, outputFlag} from '../_base.js';
import {setting} from '../_settings.js';

export default class MetaBackup extends CpfsCommand {
  static override summary = 'Copy the state of the meta server into a folder, while it serves.';
  static override description =
    'Names, attributes, layouts, small files and the cluster map: everything but the bytes in columns, which are with the data servers. The first backup ' +
    'of a folder has the whole state; the next ones have what changed since, as long as the meta server keeps the log that far back, and else everything ' +
    "again. What is there is whole and checked at all times: a backup that does not come to its end leaves the folder as it was. 'cpfs meta restore' " +
    'makes the folder of a meta server from it.';
  static override examples = [
    '<%= config.bin %> meta backup /backup/cpfs --meta 10.0.0.1:7400',
    '<%= config.bin %> meta backup /backup/cpfs --full --keep 7',
  ];
  static override args = {
    folder: Args.string({
      required: true,
      description: 'folder of the backups; made when missing',
    }),
  };
  static override flags = {
    meta: metaFlag,
    full: Flags.boolean({summary: 'copy everything, not only what changed'}),
    keep: Flags.integer({
      summary: 'full backups that are kept, with what was added to them',
      default: 2,
      min: 1,
      max: 1000,
    }),
    output: outputFlag,
    timeout: setting('client.timeout', {
      default: 30,
      summary: 'time to wait for each answer of the meta server',
    }),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(MetaBackup);
    const {backup} = await import('../../roles/meta/backup.js');
    const report = await backup({
      folder: args.folder,
      metas: metas(flags.meta),
      full: flags.full,
      keep: flags.keep,
      timeoutMs: flags.timeout * 1000,
    });
    this.log(flags.output === 'json' ? JSON.stringify(report, null, 2) : sentence(report));
  }
}

const KINDS = {
  full: 'a full backup',
  incremental: 'what changed since the backup before',
  unchanged: 'nothing has changed',
};

const sentence = (r: BackupReport): string =>
  `${r.folder}: ${KINDS[r.kind]}, ${r.bytes} bytes in ${(r.tookMs / 1000).toFixed(1)} s; it has cluster ${r.cluster} up to record ${r.sequence} ` +
  `in ${r.chainParts} ${r.chainParts === 1 ? 'file' : 'files'} of ${r.chainBytes} bytes`;
