import {Args, Flags} from '@oclif/core';
import {CpfsCommand} from './_base.js';

export default class Umount extends CpfsCommand {
  static override summary = 'Unmount, and wait until everything has been written back.';
  static override examples = ['<%= config.bin %> umount /mnt/cpfs'];
  static override args = {dir: Args.string({required: true, description: 'the mount point'})};
  static override flags = {
    lazy: Flags.boolean({
      char: 'l',
      summary: 'detach now, even while programs use it',
      default: false,
    }),
    timeout: Flags.integer({
      summary: 'seconds to wait for the write-back',
      default: 60,
      min: 1,
      max: 3600,
    }),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(Umount);
    const {mountPath, unmountAndWait} = await import('../roles/mounts.js');
    await unmountAndWait(await mountPath(args.dir), {
      lazy: flags.lazy,
      patienceMs: flags.timeout * 1000,
    });
  }
}
