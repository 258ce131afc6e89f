import {execFileSync} from 'node:child_process';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import * as abi from '../../src/core/door/fuse/abi.js';

// Goal: the channel's core keeps its laws with wrong input too, and our numbers are the kernel's. Method: core_test.cpp
// under sanitizers; a program made from <linux/fuse.h> prints what the tables of abi.ts are compared with.

const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
const source = join(root, 'native/fuse');
let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'cpfs-fuse-core-'));
});
afterAll(() => rmSync(dir, {recursive: true}));

describe.each([
  ['address,undefined', ['-fno-sanitize-recover=all']],
  ['thread', []],
])('-fsanitize=%s', (sanitizer, more) => {
  test.each(['core_test', 'notifier_test'])('fuse core: %s.cpp passes', (name) => {
    const program = join(dir, name);
    const files = ['core.cpp', 'notifier.cpp', `${name}.cpp`].map((file) => join(source, file));
    const flags = ['-std=c++17', '-O1', '-g', `-fsanitize=${sanitizer}`, ...more, '-pthread'];
    execFileSync('g++', [...flags, ...files, '-o', program], {stdio: 'pipe'});
    expect(execFileSync(program, {encoding: 'utf8', timeout: 30_000})).toBe('ok\n');
  });
});

/** Values of C expressions, by the header of this machine; `null` where it is too old to know one. */
function evaluate(expressions: readonly string[]): (number | null)[] {
  const program = join(dir, 'abi');
  const compile = (wanted: readonly string[]): number[] => {
    const lines = wanted.map((e) => `printf("%llu\\n", (unsigned long long)(${e}));`).join('\n');
    const text = `#include <linux/fuse.h>\n#include <stddef.h>\n#include <stdio.h>\nint main() {\n${lines}\n}\n`;
    execFileSync('g++', ['-x', 'c++', '-', '-o', program], {input: text, stdio: 'pipe'});
    return execFileSync(program, {encoding: 'utf8'}).trim().split('\n').map(Number);
  };
  try {
    return compile(expressions);
  } catch {
    if (expressions.length === 1) return [null];
    const half = expressions.length >> 1;
    return [...evaluate(expressions.slice(0, half)), ...evaluate(expressions.slice(half))];
  }
}

// Protocol 7.38, the oldest header that is met (Debian 12), does not have these; they are from Linux 6.18.
const YOUNG = [
  'FUSE_STATX',
  'FUSE_COPY_FILE_RANGE_64',
  'FOPEN_PASSTHROUGH',
  'FUSE_CREATE_SUPP_GROUP',
  'FUSE_DIRECT_IO_ALLOW_MMAP',
  'FUSE_PASSTHROUGH',
  'FUSE_NO_EXPORT_SUPPORT',
  'FUSE_HAS_RESEND',
  'FUSE_ALLOW_IDMAP',
  'FUSE_OVER_IO_URING',
  'FUSE_REQUEST_TIMEOUT',
  'FUSE_NOTIFY_RESEND',
  'FUSE_NOTIFY_INC_EPOCH',
  'FUSE_NOTIFY_PRUNE',
  'offsetof(fuse_init_out, max_stack_depth)',
];

function compare(rows: [string, number][]): void {
  const values = evaluate(rows.map(([name]) => name));
  const unknown = rows.filter((_, i) => values[i] === null).map(([name]) => name);
  expect(unknown.filter((name) => !YOUNG.includes(name))).toEqual([]);
  const known = rows.filter((_, i) => values[i] !== null);
  expect(known).toEqual(
    rows.map(([name], i) => [name, values[i]]).filter(([, value]) => value !== null),
  );
}

describe('abi.ts against <linux/fuse.h>', () => {
  test('fuse abi: opcodes, flags and notify codes', () => {
    const named = (prefix: string, table: Record<string, number>, unit = 1): [string, number][] =>
      Object.entries(table).map(([name, value]) => [`${prefix}${name}`, value * unit]);
    compare([
      ...named('FUSE_', abi.OPCODE),
      ...named('FUSE_', abi.INIT),
      ...named('FUSE_', abi.INIT2, 2 ** 32),
      ...named('FOPEN_', abi.FOPEN),
      ...named('FATTR_', abi.FATTR),
      ...named('FUSE_NOTIFY_', abi.NOTIFY),
      ...named('FUSE_WRITE_', abi.WRITE_FLAG),
      ...named('FUSE_RELEASE_', abi.RELEASE_FLAG),
      ['FUSE_KERNEL_VERSION', abi.FUSE_MAJOR],
      ['FUSE_ROOT_ID', abi.ROOT_NODEID],
      ['FUSE_OPEN_KILL_SUIDGID', abi.OPEN_KILL_SUIDGID],
      ['FUSE_READ_LOCKOWNER', abi.READ_FLAG.LOCKOWNER],
      ['FUSE_GETATTR_FH', abi.GETATTR_FH],
      ['FUSE_LK_FLOCK', abi.LK_FLOCK],
      ['FUSE_FSYNC_FDATASYNC', abi.FSYNC_FDATASYNC],
      ['FUSE_SETXATTR_ACL_KILL_SGID', abi.SETXATTR_ACL_KILL_SGID],
      ['FUSE_EXPIRE_ONLY', abi.EXPIRE_ONLY],
    ]);
  });

  test('fuse abi: offsets and sizes of structures', () => {
    const snake = (name: string): string => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);
    const fields = (
      struct: string,
      table: Record<string, number>,
      rename: Record<string, string> = {},
    ): [string, number][] =>
      Object.entries(table).map(([name, word]) =>
        name === 'words'
          ? [`sizeof(${struct})`, word * 4]
          : [`offsetof(${struct}, ${rename[name] ?? snake(name)})`, word * 4],
      );
    compare([
      ...fields('fuse_in_header', abi.IN_HEADER),
      ...fields('fuse_attr', abi.ATTR),
      ...fields('fuse_entry_out', abi.ENTRY_OUT),
      ...fields('fuse_attr_out', abi.ATTR_OUT),
      ...fields('fuse_open_out', abi.OPEN_OUT),
      ...fields('fuse_write_out', abi.WRITE_OUT),
      ...fields('fuse_kstatfs', abi.STATFS_OUT),
      ...fields('fuse_getxattr_out', abi.GETXATTR_OUT),
      ...fields('fuse_file_lock', abi.LK_OUT),
      ...fields('fuse_lseek_out', abi.LSEEK_OUT),
      ...fields('fuse_init_out', abi.INIT_OUT),
      ...fields('fuse_init_in', abi.INIT_IN),
      ...fields('fuse_forget_in', abi.FORGET_IN),
      ...fields('fuse_getattr_in', abi.GETATTR_IN, {flags: 'getattr_flags'}),
      ...fields('fuse_setattr_in', abi.SETATTR_IN),
      ...fields('fuse_mknod_in', abi.MKNOD_IN),
      ...fields('fuse_mkdir_in', abi.MKDIR_IN),
      ...fields('fuse_rename_in', abi.RENAME_IN),
      ...fields('fuse_rename2_in', abi.RENAME2_IN),
      ...fields('fuse_link_in', abi.LINK_IN),
      ...fields('fuse_open_in', abi.OPEN_IN),
      ...fields('fuse_create_in', abi.CREATE_IN),
      ...fields('fuse_release_in', abi.RELEASE_IN),
      ...fields('fuse_flush_in', abi.FLUSH_IN),
      ...fields('fuse_read_in', abi.READ_IN),
      ...fields('fuse_write_in', abi.WRITE_IN),
      ...fields('fuse_fsync_in', abi.FSYNC_IN, {flags: 'fsync_flags'}),
      ['sizeof(fuse_setxattr_in)', abi.SETXATTR_IN.words * 4],
      ['FUSE_COMPAT_SETXATTR_IN_SIZE', abi.SETXATTR_IN.wordsShort * 4],
      ['offsetof(fuse_setxattr_in, setxattr_flags)', abi.SETXATTR_IN.setxattrFlags * 4],
      ...fields('fuse_getxattr_in', abi.GETXATTR_IN),
      ...fields('fuse_lk_in', abi.LK_IN),
      ...fields('fuse_access_in', abi.ACCESS_IN),
      ...fields('fuse_fallocate_in', abi.FALLOCATE_IN),
      ...fields('fuse_lseek_in', abi.LSEEK_IN),
      ...fields('fuse_copy_file_range_in', abi.COPY_FILE_RANGE_IN),
      ...fields('fuse_ioctl_in', abi.IOCTL_IN),
      ...fields('fuse_dirent', abi.DIRENT),
      ['offsetof(fuse_direntplus, dirent)', abi.DIRENTPLUS.dirent * 4],
      ['FUSE_NAME_OFFSET_DIRENTPLUS', abi.DIRENTPLUS.words * 4],
      ['sizeof(fuse_entry_out) + sizeof(fuse_open_out)', abi.CREATE_OUT.words * 4],
      ...fields('fuse_notify_inval_inode_out', abi.INVAL_INODE_OUT),
      ...fields('fuse_notify_inval_entry_out', abi.INVAL_ENTRY_OUT),
      ...fields('fuse_notify_delete_out', abi.DELETE_OUT),
      ...fields('fuse_notify_store_out', abi.STORE_OUT),
    ]);
  });
});
