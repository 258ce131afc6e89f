import {Args, Flags} from '@oclif/core';
import {CpfsCommand, metas as checked} from './_base.js';

/** Also called as /sbin/mount.cpfs, by mount(8). */
export default class MountHelper extends CpfsCommand {
  static override summary = 'Mount for mount(8) and fstab, which call it as mount.cpfs.';
  static override description =
    'The device is META[,META...]:/, where META is HOST[:PORT] (7400) or srv:DOMAIN; or etcd://HOST:PORT[,...][/PREFIX]:/. Options are those of ' +
    "'cpfs mount', and those of mount(8). Exit codes are those of mount(8): 1 for wrong words, 2 for an error of the system, 32 if it could not be mounted.";
  static override examples = [
    '<%= config.bin %> mount-helper meta1,meta2:/ /mnt/cpfs -o ro,cache-size=256MiB',
  ];
  static override args = {
    device: Args.string({required: true, description: 'the meta servers, and :/'}),
    dir: Args.string({required: true, description: 'an empty folder'}),
  };
  static override flags = {
    option: Flags.string({
      char: 'o',
      summary: 'mount options, opt=value,…',
      multiple: true,
      default: [],
    }),
    fake: Flags.boolean({char: 'f', summary: 'check the words, and mount nothing'}),
    'no-mtab': Flags.boolean({char: 'n', summary: 'means nothing: there is no mtab'}),
    sloppy: Flags.boolean({char: 's', summary: 'leave out options that are not known'}),
    verbose: Flags.boolean({char: 'v', summary: 'say what is mounted'}),
    type: Flags.string({char: 't', summary: 'means nothing: there is one type'}),
  };

  protected override async catch(error: Error): Promise<void> {
    const {mountExit} = await import('../roles/mount/helper.js');
    return this.fail(error, (code) => mountExit(error, code));
  }

  async run(): Promise<void> {
    const {args, flags} = await this.parse(MountHelper);
    const {metasOfDevice, optionsOfMount} = await import('../roles/mount/helper.js');
    const {mountDetached, refuseMounted} = await import('../roles/mount/detached.js');
    const {mountPath} = await import('../roles/mounts.js');
    const meta = checked(metasOfDevice(args.device), 'the device');
    const options = optionsOfMount(flags.option, flags.sloppy);
    const dir = await mountPath(args.dir);
    if (flags.fake) return;
    await refuseMounted(dir);
    const logDir = (await this.settings(['log.dir'])).get('log.dir');
    await mountDetached({dir, meta, source: args.device, options, logDir});
    if (flags.verbose) this.log(`${args.device} on ${dir} type fuse.cpfs`);
  }
}
