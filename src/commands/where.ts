import {Args} from '@oclif/core';
import {formatSize, parseSize} from '../core/base/units.js';
import {CliError, EXIT} from '../roles/cli-error.js';
import type {ColumnWhere, Where} from '../roles/where.js';
import {CpfsCommand, outputFlag} from './_base.js';

export default class WhereCommand extends CpfsCommand {
  static override summary = 'Show which servers and local files hold a file, or one byte of it.';
  static override description =
    'The path of a column is relative to the folder of its server (data start --state). What the mount has not written back yet is ' +
    'written back first. Never read a column with cat: it is sparse, and 1 TiB long.';
  static override examples = [
    '<%= config.bin %> where /mnt/cpfs/video/a.mp4',
    '<%= config.bin %> where /mnt/cpfs/video/a.mp4 64MiB -o json',
  ];
  static override args = {
    path: Args.string({required: true, description: 'a file on a mount'}),
    offset: Args.string({
      description: 'a byte of it, from 0, such as 4096 or 64MiB; default: all of it',
    }),
  };
  static override flags = {output: outputFlag};

  async run(): Promise<void> {
    const {args, flags} = await this.parse(WhereCommand);
    const offset = args.offset === undefined ? null : (parseSize(args.offset) ?? -1);
    if (offset !== null && offset < 0)
      throw new CliError(
        `OFFSET is a size such as 4096 or 64MiB, not '${args.offset}'`,
        EXIT.usage,
      );
    const {where} = await import('../roles/where.js');
    const found = await where(args.path, offset);
    this.log(
      flags.output === 'json'
        ? JSON.stringify({version: 1, ...found}, null, 2)
        : text(args.path, found),
    );
  }
}

/** For people. */
function text(path: string, found: Where): string {
  const {inode, size, scheme, unitBytes, chunkBytes, inline, offset, hole, chunks} = found;
  const lines = [
    `${path}: object ${inode}, ${size} bytes, scheme ${scheme}, unit ${formatSize(unitBytes)}, chunk ${formatSize(chunkBytes)}`,
  ];
  if (inline > 0)
    lines.push(`bytes 0 to ${inline - 1} are kept with the inode, by the meta server`);
  if (size === 0) lines.push('it is empty');
  for (const {chunk, group, start, length, columns} of chunks) {
    lines.push(`chunk ${chunk} (bytes ${start} to ${start + length - 1}), group ${group}`);
    const own = columns.filter((one) => one.kind === 'data' && one.offset !== null);
    if (own.length > 0) lines.push(`byte ${offset} is in column ${own[0]!.column}`);
    if (hole === true) lines.push('it was never written: a hole, which reads as zeros');
    for (const one of columns) if (offset === null || one.offset !== null) lines.push(line(one));
  }
  return lines.join('\n');
}

function line(one: ColumnWhere): string {
  const {column, kind, slot, state, address, server, file, offset, present, allocated} = one;
  const use =
    present === null
      ? 'not known'
      : present
        ? `${formatSize(allocated ?? 0)} on disk`
        : 'not there (a hole, or lost)';
  const at = offset === null ? '' : `  offset ${offset}`;
  return `  column ${column}  ${kind.padEnd(10)}  slot ${slot}  ${state.padEnd(10)}  ${address ?? '-'}  ${server ?? '-'}  ${file}${at}  ${use}`;
}
