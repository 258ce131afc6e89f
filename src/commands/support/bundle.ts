import {resolve} from 'node:path';
import {Args, Flags} from '@oclif/core';
import {CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from '../_base.js';

export default class SupportBundle extends CpfsCommand {
  static override summary =
    'Put what is to be known of the cluster and this machine into one file, for those who help.';
  static override description =
    'Status of the cluster and of each server, requests that wait, the configuration, readiness and metrics of the servers that are configured here, the ends of ' +
    'the logs, and facts of the machine. There are names of hosts and files in it, but no contents of files and no secrets: passwords and keys lie in files of ' +
    'their own, which are not read, and what looks like one in a log is hidden. What cannot be had is named, and does not keep the rest from being written.';
  static override examples = [
    '<%= config.bin %> support bundle --meta 10.0.0.1:7400',
    '<%= config.bin %> support bundle /tmp/cpfs.tar.gz --logs /var/tmp/cpfs-dev/log',
  ];
  static override args = {
    file: Args.string({description: 'what to write; cpfs-TIME.tar.gz in the present folder'}),
  };
  static override flags = {
    meta: metaFlag,
    logs: Flags.string({
      summary: 'a folder of logs; else that of log.dir',
      multiple: true,
      default: [],
    }),
    output: outputFlag,
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(SupportBundle);
    const {supportBundle} = await import('../../roles/support/bundle.js');
    const settings = await this.settings();
    const time = new Date().toISOString().slice(0, 19).replace(/\D/g, '');
    const logs = flags.logs.length > 0 ? flags.logs : [settings.get('log.dir') ?? '/var/log/cpfs'];
    const bundle = await supportBundle({
      file: resolve(args.file ?? `cpfs-${time}.tar.gz`),
      metas: flags.meta === undefined ? null : metas(flags.meta),
      timeoutMs: flags.timeout * 1000,
      settings,
      logs: logs.map((folder) => resolve(folder)),
    });
    if (flags.output === 'json') {
      this.log(JSON.stringify({version: 1, ...bundle}, null, 2));
      return;
    }
    for (const {part, why} of bundle.lacking)
      process.stderr.write(`cpfs: without ${part}: ${why}\n`);
    this.log(bundle.file);
  }
}
