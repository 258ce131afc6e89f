import {Args, Flags} from '@oclif/core';
import {parseSize} from '../../core/base/units.js';
import {parseScheme} from '../../core/layout/scheme.js';
import {CliError, EXIT} from '../../roles/cli-error.js';
import {CpfsCommand} from '../_base.js';

export default class LayoutSet extends CpfsCommand {
  static override summary =
    'Set how the new files of a folder are striped; with --convert also how existing ones are.';
  static override examples = [
    '<%= config.bin %> layout set /mnt/cpfs/vm --scheme 1+1',
    '<%= config.bin %> layout set /mnt/cpfs/video --unit 256KiB --groups 2',
    '<%= config.bin %> layout set --convert --wait /mnt/cpfs/archive --scheme 4+2',
  ];
  static override args = {
    path: Args.string({
      required: true,
      description: 'a folder, or with --convert also a file, on a mount',
    }),
  };
  static override flags = {
    scheme: Flags.string({summary: 'data + redundancy columns: 4+1, 4+2, 1+1 …'}),
    unit: Flags.string({summary: 'bytes of one column in one stripe, a power of two'}),
    chunk: Flags.string({summary: 'bytes of a chunk'}),
    groups: Flags.integer({summary: 'groups that a file is spread over', min: 1, max: 64}),
    convert: Flags.boolean({
      summary:
        'also of the folders and files that are there, in the background, while programs use them',
    }),
    wait: Flags.boolean({summary: 'until all files are converted', dependsOn: ['convert']}),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(LayoutSet);
    const {layoutConvert, layoutSet} = await import('../../roles/layout.js');
    const scheme = flags.scheme === undefined ? null : parseScheme(flags.scheme);
    if (flags.scheme !== undefined && scheme === null) {
      throw new CliError(
        `--scheme is DATA+REDUNDANCY, such as 4+1, not '${flags.scheme}'`,
        EXIT.usage,
      );
    }
    const change = {
      ...(scheme ?? {}),
      ...size('unitBytes', '--unit', flags.unit),
      ...size('chunkBytes', '--chunk', flags.chunk),
      ...(flags.groups === undefined ? {} : {groupCount: flags.groups}),
    };
    if (Object.keys(change).length === 0) {
      throw new CliError('nothing to set; give --scheme, --unit, --chunk or --groups', EXIT.usage);
    }
    if (!flags.convert) {
      await layoutSet(args.path, change);
      return;
    }
    const done = await layoutConvert(args.path, change, flags.wait);
    if (done !== null) this.log(`converted ${done.objects} files, ${done.bytes} bytes`);
  }
}

function size(name: string, flag: string, text: string | undefined): Record<string, number> {
  if (text === undefined) return {};
  const bytes = parseSize(text);
  if (bytes === null)
    throw new CliError(`${flag} is a size such as 64KiB, not '${text}'`, EXIT.usage);
  return {[name]: bytes};
}
