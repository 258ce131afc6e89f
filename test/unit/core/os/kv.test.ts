import {existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import type {Kv} from '../../../../src/core/env/kv.js';
import {LmdbKv} from '../../../../src/core/os/kv-lmdb.js';
import {SimKv} from '../../../../src/core/sim/kv.js';

const folder = mkdtempSync(join(tmpdir(), 'cpfs-kv-'));
afterAll(() => rmSync(folder, {recursive: true}));

let stores = 0;
const atOnce = {
  timer: (_delay: number, fire: () => void) => {
    queueMicrotask(fire);
    return {cancel: () => {}};
  },
};
/** An empty store, and the same one after a restart. */
type Kind = () => Promise<{kv: Kv; again: () => Kv | Promise<Kv>}>;
const kinds: [string, Kind][] = [
  [
    'lmdb',
    async () => {
      const path = join(folder, String(stores++));
      return {kv: await LmdbKv.open(path), again: () => LmdbKv.open(path)};
    },
  ],
  [
    'simulated',
    async () => {
      const store = new SimKv({float: () => 0});
      return {kv: store.attach(atOnce), again: () => store.attach(atOnce)};
    },
  ],
];

/** For comparison: jest takes long for large arrays. */
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

/** Bytes whose order differs from that of UTF-8 or of signed characters are among them. */
const letter = fc.constantFrom('\0', '\x01', 'a', 'b', '\x7f', '\x80', '\xff');
const key = fc.array(letter, {minLength: 1, maxLength: 4}).map((letters) => letters.join(''));
const value = fc.oneof(fc.uint8Array({maxLength: 8}), fc.constant(new Uint8Array(5000).fill(3)));
const change = fc.tuple(key, fc.option(value));

describe.each(kinds)('a %s store', (_name, open) => {
  test('answers like a sorted map after any writes, also after a restart', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(change, {maxLength: 12}), {maxLength: 5}),
        key,
        key,
        fc.integer({min: 1, max: 5}),
        async (writes, from, to, limit) => {
          const {kv, again} = await open();
          const model = new Map<string, Uint8Array>();
          for (const changes of writes) {
            await kv.write(changes);
            for (const [k, v] of changes) {
              if (v === null) model.delete(k);
              else model.set(k, v);
            }
          }
          await kv.close();
          const reopened = await again();
          const sorted = [...model].sort(([a], [b]) => (a < b ? -1 : 1));
          const wanted = sorted.filter(([k]) => k >= from && k < to).slice(0, limit);
          const found = [...reopened.range(from, to, limit)];
          for (const [k, v] of model) expect(text(reopened.get(k)!)).toBe(text(v));
          expect(reopened.get('none')).toBeUndefined();
          await reopened.close();
          expect(found.map(([k, v]) => [k, text(v)])).toEqual(wanted.map(([k, v]) => [k, text(v)]));
        },
      ),
      {numRuns: 60},
    );
  });

  test('a view is as the store was when it was made, and several views are apart', async () => {
    const {kv} = await open();
    const all = (view: Pick<Kv, 'range'>) =>
      [...view.range('a', 'z', 999)].map(([k, v]) => `${k}${v[0]}`).join(' ');
    await kv.write([
      ['a', Uint8Array.of(1)],
      ['b', Uint8Array.of(2)],
    ]);
    const first = kv.view();
    await kv.write([
      ['a', null],
      ['b', Uint8Array.of(3)],
      ['c', Uint8Array.of(4)],
    ]);
    const second = kv.view();
    for (let i = 0; i < 20; i++) await kv.write([['b', new Uint8Array(5000).fill(9)]]);
    expect([all(first), all(second), all(kv)]).toEqual(['a1 b2', 'b3 c4', 'b9 c4']);
    first.close();
    first.close();
    await kv.write([['d', Uint8Array.of(5)]]);
    expect(all(second)).toBe('b3 c4');
    second.close();
    expect(all(kv)).toBe('b9 c4 d5');
    await kv.close();
  });

  test('is cleared but for one entry', async () => {
    const {kv, again} = await open();
    const rows = Array.from({length: 500}, (_, i): [string, Uint8Array] => [
      `k${i}`,
      new Uint8Array(i).fill(1),
    ]);
    await kv.write(rows);
    const view = kv.view();
    await kv.clear(['left', Uint8Array.of(7)]);
    const all = (store: Pick<Kv, 'range'>) => [...store.range('\0', '\xff', 999)];
    expect(all(kv).map(([k, v]) => [k, ...v])).toEqual([['left', 7]]);
    expect(all(view).length).toBe(500);
    view.close();
    await kv.write([['more', Uint8Array.of(8)]]);
    await kv.close();
    const reopened = await again();
    expect(all(reopened).map(([k]) => k)).toEqual(['left', 'more']);
    await reopened.close();
  });

  test('takes keys of 500 bytes and values of 64 KiB', async () => {
    const {kv} = await open();
    const long = '\xff'.repeat(500);
    await kv.write([[long, new Uint8Array(65_536).fill(7)]]);
    expect(text(kv.get(long)!)).toBe('\x07'.repeat(65_536));
    await kv.close();
  });

  test('values are copies: they outlive later writes', async () => {
    const {kv} = await open();
    await kv.write([['k', Uint8Array.of(1, 2)]]);
    const got = kv.get('k')!;
    const [[, ranged]] = [...kv.range('k', 'l', 9)] as [[string, Uint8Array]];
    for (let i = 0; i < 50; i++) await kv.write([['k', new Uint8Array(5000).fill(i)]]);
    expect(Uint8Array.from(got)).toEqual(Uint8Array.of(1, 2));
    expect(Uint8Array.from(ranged)).toEqual(Uint8Array.of(1, 2));
    await kv.close();
  });
});

test('an LMDB store whose first pages never got to the disk is said to be damaged', async () => {
  const path = join(folder, 'zeros');
  mkdirSync(path);
  writeFileSync(join(path, 'data.mdb'), Buffer.alloc(8192));
  await expect(LmdbKv.open(path)).rejects.toThrow('damaged');
});

test('an LMDB store that was being made when the power went is made again', async () => {
  const path = join(folder, 'unmade');
  mkdirSync(`${path}.new`);
  writeFileSync(join(`${path}.new`, 'data.mdb'), Buffer.alloc(8192));
  const kv = await LmdbKv.open(path);
  await kv.write([['k', Uint8Array.of(1)]]);
  await kv.close();
  expect(existsSync(`${path}.new`)).toBe(false);
});

test('a simulated store that dies in a write has all of it or nothing', async () => {
  const outcomes = new Set<string>();
  for (const draw of [0, 0.9]) {
    const store = new SimKv({float: () => draw});
    const never = {timer: () => ({cancel: () => {}})};
    await store.attach(atOnce).write([['a', Uint8Array.of(0)]]);
    void store.attach(never).write([
      ['a', null],
      ['b', Uint8Array.of(1)],
    ]);
    store.crash();
    outcomes.add([...store.attach(never).range('\0', '\xff', 9)].map(([k]) => k).join());
  }
  expect(outcomes).toEqual(new Set(['a', 'b']));
});

describe('a compaction of an lmdb store', () => {
  test('gives back the space of what was removed, and keeps the rest', async () => {
    const path = join(folder, String(stores++));
    const kv = await LmdbKv.open(path);
    const rows = Array.from({length: 3000}, (_, i): [string, Uint8Array] => [
      `key ${String(i).padStart(4, '0')}`,
      new Uint8Array(1000).fill(i),
    ]);
    await kv.write(rows);
    await kv.write(rows.filter((_, i) => i % 10 !== 0).map(([k]) => [k, null]));
    await kv.close();
    // Of a compaction that was killed.
    mkdirSync(`${path}.compact`);
    writeFileSync(join(`${path}.compact`, 'data.mdb'), 'half');
    const {before, after} = await LmdbKv.compact(path);
    expect(before).toBeGreaterThan(3_000_000);
    expect(after).toBeLessThan(500_000);
    expect(statSync(join(path, 'data.mdb')).size).toBe(after);
    expect(existsSync(`${path}.compact`)).toBe(false);
    const again = await LmdbKv.open(path);
    const left = [...again.range('key', 'kez', 9999)].map(([k, v]) => [k, text(v)]);
    expect(left).toEqual(rows.filter((_, i) => i % 10 === 0).map(([k, v]) => [k, text(v)]));
    await again.write([['more', new Uint8Array(1)]]);
    await again.close();
  });
});
