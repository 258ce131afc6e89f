// Goal: nothing is loaded that somebody else could have written. Method: folders and files as an attacker, or a disk, would leave them.
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {unpack} from '../../../../src/core/os/unpack.js';

const OTHER_USER = 12345;
const files = new Map([
  ['one.node', Buffer.from('what is loaded')],
  ['lib.so.2', Buffer.from('what that needs')],
]);

let folder: string;
let cache: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cpfs-unpack-'));
  cache = join(folder, 'above', 'cache');
});
afterEach(() => rmSync(folder, {recursive: true, force: true}));

const mode = (path: string): number => statSync(path).mode & 0o777;

describe('unpack', () => {
  test('writes all files where nobody else can read or write', () => {
    const there = unpack(cache, files);
    for (const [name, bytes] of files) expect(readFileSync(join(there, name))).toEqual(bytes);
    expect(readdirSync(there).sort()).toEqual([...files.keys()].sort());
    expect([cache, there].map(mode)).toEqual([0o700, 0o700]);
    expect(mode(join(there, 'one.node'))).toBe(0o500);
    expect(mode(join(folder, 'above')) & 0o055).toBe(0o055);
  });

  test('writes nothing when all is there', () => {
    const path = join(unpack(cache, files), 'one.node');
    utimesSync(path, 1000, 1000);
    unpack(cache, files);
    expect(statSync(path).mtimeMs).toBe(1_000_000);
  });

  test.each([
    [
      'other bytes',
      (path: string) => {
        chmodSync(path, 0o700);
        writeFileSync(path, 'what is loadeD');
        chmodSync(path, 0o500);
      },
    ],
    [
      'a symbolic link to the right bytes',
      (path: string) => {
        rmSync(path);
        writeFileSync(`${folder}/elsewhere`, files.get('one.node')!);
        symlinkSync(`${folder}/elsewhere`, path);
      },
    ],
    ['the right bytes, which others may change', (path: string) => chmodSync(path, 0o777)],
    ["the right bytes, another user's", (path: string) => chownSync(path, OTHER_USER, OTHER_USER)],
  ])('replaces a file that is not ours alone: %s', (_, spoil) => {
    const path = join(unpack(cache, files), 'one.node');
    const before = statSync(path).ino;
    spoil(path);
    unpack(cache, files);
    expect(readFileSync(path)).toEqual(files.get('one.node'));
    expect(statSync(path).ino).not.toBe(before);
    expect([mode(path), statSync(path).uid]).toEqual([0o500, process.getuid!()]);
  });

  test.each([
    ['the folder may be written by others', () => chmodSync(cache, 0o777), /chmod go-w .*cache$/],
    [
      'the folder is sticky and may be written by others',
      () => chmodSync(cache, 0o1777),
      /chmod go-w .*cache$/,
    ],
    [
      "the folder is another user's",
      () => chownSync(cache, OTHER_USER, 0),
      /belongs to user 12345/,
    ],
    [
      'the one above may be written by others',
      () => chmodSync(join(folder, 'above'), 0o775),
      /chmod go-w .*above$/,
    ],
    [
      "the one above is another user's",
      () => chownSync(join(folder, 'above'), OTHER_USER, 0),
      /belongs to user 12345/,
    ],
    [
      'it is a link into a folder of others',
      () => {
        rmSync(cache, {recursive: true});
        mkdirSync(join(folder, 'theirs'));
        chownSync(join(folder, 'theirs'), OTHER_USER, 0);
        symlinkSync(join(folder, 'theirs'), cache);
      },
      /belongs to user 12345/,
    ],
  ])('refuses: %s', (_, spoil, reason) => {
    unpack(cache, files);
    spoil();
    expect(() => unpack(cache, files)).toThrow(reason);
  });

  test('a folder above that everybody may write, but rename only what is his (/tmp), is safe', () => {
    chmodSync(folder, 0o1777);
    expect(readdirSync(unpack(cache, files))).toHaveLength(2);
  });

  test("removes what other releases have left, and nothing that is not the program's", () => {
    const old = unpack(cache, new Map([['one.node', Buffer.from('older')]]));
    writeFileSync(join(cache, 'note'), 'mine');
    unpack(cache, files);
    expect(existsSync(old)).toBe(false);
    expect(existsSync(join(cache, 'note'))).toBe(true);
  });
});
