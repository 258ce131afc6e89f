// Goal: a dump has everything, and a load gives it back to the byte. Method: states of random stories, and random entries of every kind of key that keys.ts has.
import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {FsError} from '../../../../src/core/base/errors.js';
import {DumpReader, dumpLines} from '../../../../src/core/meta/dump.js';
import {type DumpRow, entryOfRow, rowKind, rowOf} from '../../../../src/core/meta/dump-rows.js';
import * as keys from '../../../../src/core/meta/keys.js';
import * as records from '../../../../src/core/meta/records.js';
import {type Entry, POSITION_KEY} from '../../../../src/core/meta/store.js';
import {playStory} from '../../../support/backtrace-story.js';
import {MemoryKv} from '../../../support/memory-kv.js';
import {step} from '../../../support/meta-steps.js';

const HEADER = {release: '1', cluster: 'c1', sequence: 7, sum: 8, digest: 9};

const oid = fc.nat({max: 2 ** 31 - 1}).map((n) => n * 4_000_000);
const small = fc.nat(9);
const bytes = fc.oneof(
  fc.uint8Array({maxLength: 9}),
  fc.string({unit: 'grapheme'}).map((s) => Buffer.from(s)),
);
const latin1 = bytes.map((b) => Buffer.from(b).toString('latin1'));
const text = latin1.filter((name) => name !== '');
const layout = fc.record({
  k: fc.integer({min: 1, max: 20}),
  m: small,
  unitBytes: fc.constantFrom(4096, 65_536),
  chunkBytes: fc.constantFrom(2 ** 20, 2 ** 26),
  groups: fc.array(small, {maxLength: 3}),
  generation: small,
});
const folderLayout = layout.map(({groups, generation: _, ...rest}) => ({
  ...rest,
  groupCount: groups.length,
}));
const time = fc.record({sec: fc.integer(), nsec: fc.nat(999_999_999)});
const inode = fc.record({
  mode: fc.nat(0xffff),
  ...{nlink: small, uid: oid, gid: small, rdev: small, size: oid, blocks: small},
  ...{atime: time, mtime: time, ctime: time, version: small, xattrNameBytes: small, parent: oid},
});
const folderPart = fc.record({
  parent: oid,
  nextCookie: oid,
  layout: folderLayout,
  layoutSet: small,
});
const filePart = fc.record({
  layout,
  inlineBytes: small,
  generations: small,
  next: fc.option(layout),
});
const NO_FILE = {layout: null, inlineBytes: 0, generations: 0, next: null};

/** An entry of each kind that keys.ts can make: whoever adds one there adds it here, and to the dump. */
const ENTRIES: Record<string, fc.Arbitrary<Entry>> = {
  inlineKey: fc.tuple(oid, bytes).map(([o, b]) => [keys.inlineKey(o), b]),
  inodeKey: fc
    .tuple(oid, inode, fc.oneof(folderPart, filePart, fc.constant(null)))
    .map(([o, i, part]) => {
      const isFolder = part !== null && 'nextCookie' in part;
      const parts = isFolder
        ? {...NO_FILE, directory: part}
        : {...NO_FILE, ...part, directory: null};
      return [keys.inodeKey(o), records.encodeInode({...i, ...parts, oid: o})];
    }),
  nameKey: fc
    .tuple(oid, text, oid, small, oid)
    .map(([p, n, o, type, cookie]) => [
      keys.nameKey(p, n),
      records.encodeName({type, oid: o, cookie}),
    ]),
  entryKey: fc
    .tuple(oid, text, oid, small, oid)
    .map(([p, n, o, type, cookie]) => [keys.entryKey(p, cookie), records.encodeEntry(type, o, n)]),
  orphanKey: oid.map((o) => [keys.orphanKey(o), new Uint8Array(0)]),
  removalKey: fc
    .tuple(oid, layout, fc.boolean())
    .map(([o, l, whole]) => [
      keys.removalKey(o, whole ? -1 : l.generation),
      records.encodeRemoval(l),
    ]),
  replyKey: fc
    .tuple(oid, oid, small, bytes)
    .map(([s, requestId, status, body]) => [
      keys.replyKey(s, requestId),
      records.encodeReply({requestId, status, body}),
    ]),
  sessionKey: fc.tuple(oid, bytes).map(([s, b]) => [keys.sessionKey(s), b]),
  deedKey: fc.tuple(oid, bytes).map(([n, b]) => [keys.deedKey(n), b]),
  tokenKey: fc.tuple(text, bytes).map(([t, b]) => [keys.tokenKey(t), b]),
  targetKey: fc.tuple(oid, bytes).map(([o, b]) => [keys.targetKey(o), b]),
  xattrKey: fc.tuple(oid, text, bytes).map(([o, n, b]) => [keys.xattrKey(o, n), b]),
  SUPERBLOCK_KEY: fc
    .tuple(fc.string(), small, folderLayout, fc.subarray(['digests', 'others']))
    .map(([cluster, groupSize, rootLayout, features]) => [
      keys.SUPERBLOCK_KEY,
      records.encodeSuperblock({cluster, groupSize, rootLayout, features}),
    ]),
  MAP_KEY: fc.json().map((map) => [keys.MAP_KEY, Buffer.from(JSON.stringify(JSON.parse(map)))]),
  IDS_KEY: oid.map((n) => [keys.IDS_KEY, records.encodeInt(n)]),
  LINE_KEY: oid.map((n) => [keys.LINE_KEY, records.encodeInt(n)]),
  FILES_KEY: oid.map((n) => [keys.FILES_KEY, records.encodeInt(n)]),
  DEEDS_KEY: oid.map((n) => [keys.DEEDS_KEY, Buffer.from(String(n), 'latin1')]),
  TERM_KEY: oid.map((n) => [keys.TERM_KEY, records.encodeInt(n)]),
};

const comparable = (rows: Iterable<Entry>): [string, string][] =>
  [...rows]
    .map(([key, value]): [string, string] => [key, Buffer.from(value).toString('latin1')])
    .sort(([a], [b]) => (a < b ? -1 : 1));

function kvOf(rows: Iterable<Entry>): MemoryKv {
  const kv = new MemoryKv();
  for (const [key, value] of rows) kv.rows.set(key, value);
  return kv;
}

const dump = (kv: MemoryKv): string[] => [
  ...dumpLines({...HEADER, range: (...a) => kv.range(...a)}),
];

function load(lines: readonly string[], edited = false): MemoryKv {
  const reader = new DumpReader(edited);
  const rows = lines.map((line) => reader.read(line)).filter((entry) => entry !== null);
  return kvOf([...rows, reader.finish().position]);
}

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof FsError) return error.detail;
    throw error;
  }
  return 'not refused';
}

describe('a dump of the state', () => {
  test('has a kind of line for every kind of key there is', () => {
    const kinds = Object.keys(keys).filter((one) => /(Key|_KEY)$/.test(one) && one !== 'idKey');
    expect(Object.keys(ENTRIES).sort()).toEqual(kinds.sort());
    const rows = kinds.map((one) => fc.sample(ENTRIES[one]!, {numRuns: 1, seed: 1})[0]!);
    const named = rows.map(([key]) => rowKind(key));
    expect(named).not.toContain(null);
    expect(new Set(named).size).toBe(kinds.length);
  });

  test.each(Object.keys(ENTRIES))(
    'says entries of %s in words, and gives them back to the byte',
    (one) => {
      fc.assert(
        fc.property(ENTRIES[one]!, (entry) => {
          const row = JSON.parse(JSON.stringify(rowOf(entry))) as DumpRow;
          expect(row.row).not.toBe('raw');
          expect(comparable([entryOfRow(row)])).toEqual(comparable([entry]));
        }),
      );
    },
  );

  test('gives an entry that it cannot say, of another release or damaged, back as it is', () => {
    const rows: Entry[] = [
      ['mnew', Buffer.from('\xff\x01', 'latin1')],
      [keys.inodeKey(5), Buffer.from('\x03')],
      ['\xfe', new Uint8Array(0)],
    ];
    for (const entry of rows) {
      expect(rowOf(entry).row).toBe('raw');
      expect(comparable([entryOfRow(rowOf(entry))])).toEqual(comparable([entry]));
    }
  });

  test('of any story is loaded to the same state, and dumped again as the same text', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, {maxLength: 60, size: 'max'}), async (steps) => {
        const {state} = await playStory(steps, 5);
        const kv = kvOf(state);
        const lines = dump(kv);
        expect(lines.filter((line) => line.includes('"row":"raw"'))).toEqual([]);
        const loaded = load(lines);
        kv.rows.delete(POSITION_KEY);
        const position = loaded.rows.get(POSITION_KEY);
        expect(position).toBeDefined();
        expect(dump(loaded)).toEqual(lines);
        loaded.rows.delete(POSITION_KEY);
        expect(comparable(loaded.rows)).toEqual(comparable(kv.rows));
      }),
      {numRuns: 40},
    );
  });

  test('is refused when a character of it is another one, a line is missing, or the end', () => {
    const some = fc.array(fc.oneof(...Object.values(ENTRIES)), {minLength: 1, maxLength: 9});
    fc.assert(
      fc.property(some, fc.nat(), fc.nat(), (rows, line, at) => {
        const lines = dump(kvOf(rows));
        expect(() => load(lines)).not.toThrow();
        const without = lines.filter((_, index) => index !== line % lines.length);
        expect(refusal(() => load(without))).toMatch(/^line \d+: /);
        expect(refusal(() => load(lines.slice(0, -1)))).toMatch(/ends too soon/);
        const changed = [...lines];
        const its = lines[line % lines.length]!;
        const place = at % its.length;
        const other = its[place] === '1' ? '2' : '1';
        changed[line % lines.length] = its.slice(0, place) + other + its.slice(place + 1);
        expect(refusal(() => load(changed))).toMatch(/^line \d+: /);
      }),
    );
  });

  test('that was edited on purpose is loaded, unless a line is nonsense', () => {
    const lines = dump(kvOf([[keys.FILES_KEY, records.encodeInt(3)]]));
    const edited = lines.map((line) => line.replace('"value":3', '"value":4'));
    expect(edited).not.toEqual(lines);
    expect(refusal(() => load(edited))).toMatch(/it was changed/);
    expect(records.decodeInt(load(edited, true).rows.get(keys.FILES_KEY)!)).toBe(4);
    for (const nonsense of [
      '{"row":"inode","oid":1}',
      '{"row":"other"}',
      '7',
      '{',
      '{"row":"name","name":{}}',
    ]) {
      const wrong = [lines[0]!, nonsense, lines.at(-1)!];
      expect(refusal(() => load(wrong, true))).toMatch(/^line 2: /);
    }
  });
});
