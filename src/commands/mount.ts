import {resolve} from 'node:path';
import {Args, Flags} from '@oclif/core';
import {CliError, EXIT} from '../roles/cli-error.js';
import type {EngineWanted} from '../roles/mount/engine.js';
import {MOUNT_KEYS, mountOptionsHelp, parseMountOptions} from '../roles/mount/options.js';
import {CpfsCommand, joinFlag, metaFlag, metas} from './_base.js';
import {setting} from './_settings.js';

export default class Mount extends CpfsCommand {
  static override summary = 'Mount the file system on a folder.';
  static override description =
    `Runs in the foreground until it is unmounted; with --detach it returns as soon as the mount is usable. Options of -o: ${mountOptionsHelp()}. docs/mount.md says what each one gives up.`;
  static override examples = [
    '<%= config.bin %> mount /mnt/cpfs --meta 10.0.0.1:7400 --detach',
    '<%= config.bin %> mount /mnt/cpfs --meta etcd://10.0.0.7:2379,10.0.0.8:2379/cpfs',
    '<%= config.bin %> mount /mnt/cpfs -o ro,cache-size=256MiB',
  ];
  static override args = {dir: Args.string({required: true, description: 'an empty folder'})};
  static override flags = {
    meta: metaFlag,
    join: joinFlag,
    detach: Flags.boolean({summary: 'go to the background once it is usable'}),
    'log-dir': setting('log.dir', {
      summary:
        'folder for the log of a mount in the background; else the journal if systemd mounts it, or /var/log/cpfs',
    }),
    'log-level': setting('log.level'),
    admin: setting('mount.admin'),
    engine: setting('mount.engine'),
    source: Flags.string({
      summary: "what df and mount show as the device; else 'cpfs:' and the meta servers",
    }),
    option: Flags.string({
      char: 'o',
      summary: 'mount options, opt=value,…',
      multiple: true,
      default: [],
    }),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(Mount);
    const {mountPath} = await import('../roles/mounts.js');
    const {mountDetached, refuseMounted} = await import('../roles/mount/detached.js');
    flags.meta = await this.joined(flags.join, flags.meta);
    if (flags.meta === undefined) {
      throw new CliError('no meta server given; use --meta HOST:PORT or set CPFS_META', EXIT.usage);
    }
    const meta = metas(flags.meta);
    const dir = await mountPath(args.dir);
    const options = parseMountOptions(flags.option.join(','), await this.settings(MOUNT_KEYS));
    await refuseMounted(dir);
    const {source, admin, engine, 'log-level': logLevel, 'log-dir': logDir} = flags;
    if (!flags.detach) {
      const {runMount} = await import('../roles/mount/main.js');
      const settings = () => this.settings();
      const own = {engine: engine as EngineWanted, admin, logLevel, settings};
      return runMount({dir, meta, source: source ?? null, options, ...own});
    }
    const file = flags.config === undefined ? [] : ['--config', resolve(flags.config)];
    const own = ['--log-level', logLevel, '--admin', admin, '--engine', engine, ...file];
    await mountDetached({dir, meta, source, options: flags.option, logDir, own});
  }
}
