import {Args, Flags} from '@oclif/core';
import {CliError, EXIT} from '../roles/cli-error.js';
import {parseMountOptions} from '../roles/mount/options.js';
import {CpfsCommand, metaFlag, metas} from './_base.js';

export default class Mount extends CpfsCommand {
  static override summary = 'Mount the file system on a folder.';
  static override description =
    'Runs in the foreground until it is unmounted; with --detach it returns as soon as the mount is usable. Options of -o: ro; ' +
    'cache=full|attr|none, what is kept of what was read: all, names and attributes, nothing; cache-size, written bytes that may wait in ' +
    'memory (64MiB); readahead (4MiB); inline-max, up to which size files are kept with their names by the meta server (16KiB, at most 64KiB, ' +
    '0: none); writeback=off, to ask for every change of a name at once and to have bytes with their servers when write(2) returns (the death ' +
    'of this machine loses nothing; small files are slower); durability=replicated, to have fsync wait for the memory of all servers, not ' +
    'for their disks; coherence=close-to-open, to believe names and attributes for 3 s that others may be changing; locks=local, to show ' +
    'locks to programs of this mount only; selinux=on, to keep its labels; location=room1/rack3/host7, where this machine is (the name of the host): of copies, near ones are read; allow_other; nosuid, nodev, noexec. docs/mount.md says what each one gives up.';
  static override examples = [
    '<%= config.bin %> mount /mnt/cpfs --meta 10.0.0.1:7400 --detach',
    '<%= config.bin %> mount /mnt/cpfs --meta etcd://10.0.0.7:2379,10.0.0.8:2379/cpfs',
    '<%= config.bin %> mount /mnt/cpfs -o ro,cache-size=256MiB',
  ];
  static override args = {dir: Args.string({required: true, description: 'an empty folder'})};
  static override flags = {
    meta: metaFlag,
    detach: Flags.boolean({summary: 'go to the background once it is usable'}),
    'log-dir': Flags.string({
      summary:
        'folder for the log of a mount in the background; else the journal if systemd mounts it, or /var/log/cpfs',
      env: 'CPFS_LOG_DIR',
    }),
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
    if (flags.meta === undefined) {
      throw new CliError('no meta server given; use --meta HOST:PORT or set CPFS_META', EXIT.usage);
    }
    const meta = metas(flags.meta);
    const dir = await mountPath(args.dir);
    const options = parseMountOptions(flags.option.join(','));
    await refuseMounted(dir);
    if (!flags.detach) {
      const {runMount} = await import('../roles/mount/main.js');
      return runMount({dir, meta, source: flags.source ?? null, options});
    }
    const {source, option, 'log-dir': logDir} = flags;
    await mountDetached({dir, meta, source, options: option, logDir});
  }
}
