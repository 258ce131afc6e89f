import {Args} from '@oclif/core';
import {formatSize} from '../../core/base/units.js';
import {CpfsCommand, outputFlag} from '../_base.js';

export default class LayoutGet extends CpfsCommand {
  static override summary = 'Show how a file, or the new files of a folder, are striped.';
  static override examples = ['<%= config.bin %> layout get /mnt/cpfs/video'];
  static override args = {
    path: Args.string({required: true, description: 'a file or folder on a mount'}),
  };
  static override flags = {output: outputFlag};

  async run(): Promise<void> {
    const {args, flags} = await this.parse(LayoutGet);
    const {layoutGet} = await import('../../roles/layout.js');
    const layout = await layoutGet(args.path);
    if (flags.output === 'json') {
      this.log(JSON.stringify({version: 1, ...layout}, null, 2));
      return;
    }
    const groups =
      layout.groups.length > 0
        ? `groups ${layout.groups.join(',')}`
        : `${layout.groupCount} group(s)`;
    this.log(
      `${layout.scheme}  unit ${formatSize(layout.unitBytes)}  chunk ${formatSize(layout.chunkBytes)}  ${groups}`,
    );
    for (const {chunk, group, slot} of layout.readCopies)
      this.log(`chunk ${chunk} has a read copy in slot ${group}.${slot}`);
  }
}
