// Goal: what backtraces have is made the same tree again; from pieces of different moments a tree in which nothing dangles and nothing is lost. Method: random stories on a meta machine, records in random order.
import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {silentLog} from '../../../../src/core/env/log.js';
import {inodesOf, namesOf} from '../../../../src/core/meta/audit.js';
import * as keys from '../../../../src/core/meta/keys.js';
import {Machine} from '../../../../src/core/meta/machine.js';
import {decodeInode} from '../../../../src/core/meta/records.js';
import {S_IFDIR, S_IFMT} from '../../../../src/core/namespace/inode.js';
import {shardOf} from '../../../../src/core/protocol/backtraces.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {CALM_MACHINE, SimLand} from '../../../../src/core/sim/machine.js';
import {checkNames} from '../../../../src/roles/check/names.js';
import {Report} from '../../../../src/roles/check/report.js';
import {
  NotingWatch,
  playStory,
  type Remade,
  remake,
  SHARD_NUMBERS,
  shardAt,
} from '../../../support/backtrace-story.js';
import type {MemoryKv} from '../../../support/memory-kv.js';
import {FORMAT, MetaFixture, whole} from '../../../support/meta.js';
import {step} from '../../../support/meta-steps.js';
import {defer, play} from '../../../support/sim.js';

/** What a rebuild must give back: all but where the log is, ids, sessions and replies. */
function copied(rows: Iterable<[string, Uint8Array]>): [string, string][] {
  const changed = new Set<string>([keys.IDS_KEY, keys.LINE_KEY, keys.TERM_KEY]);
  return [...rows]
    .filter(([key]) => shardOf(key) >= 0 && !changed.has(key))
    .map(([key, value]): [string, string] => [key, Buffer.from(value).toString('latin1')])
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

/** What a check of the namespace finds, after a start from the rebuilt store. */
async function findings(kv: MemoryKv): Promise<string[]> {
  const land = new SimLand(1, defer);
  const pool = {small: 1, medium: 0, large: 0};
  const env = land.machine('meta', {...CALM_MACHINE, pool}).boot();
  const lines: string[] = [];
  await play(land, async () => {
    const machine = await Machine.open(
      {...env, kv, log: silentLog},
      {format: FORMAT, onApplied: () => {}, onFailed: (error) => lines.push(String(error))},
    );
    expect(machine.sequence).toBeGreaterThanOrEqual(1_000_000);
    const report = new Report((line) => lines.push(line));
    await checkNames(
      {
        inodes: async (q) => inodesOf(machine, whole(OPS.inodes, q)),
        names: async (q) => namesOf(machine, whole(OPS.names, q)),
        mend: null,
      },
      report,
    );
    await machine.close();
  });
  return lines;
}

const inodes = (rows: Iterable<[string, Uint8Array]>): number[] =>
  [...rows].filter(([key]) => key.startsWith('i')).map(([key]) => keys.keyId(key, 1));

/** A directory counts itself, its name, and the directories in it. */
function wrongLinks({kv}: Remade): number[] {
  const subfolders = new Map<number, number>();
  const all = [...kv.rows]
    .filter(([key]) => key.startsWith('i'))
    .map(([key, value]) => decodeInode(keys.keyId(key, 1), value))
    .filter(({mode, nlink}) => (mode & S_IFMT) === S_IFDIR && nlink > 0);
  for (const {oid, directory} of all)
    if (oid !== 1) subfolders.set(directory!.parent, (subfolders.get(directory!.parent) ?? 0) + 1);
  return all.filter(({oid, nlink}) => nlink !== 2 + (subfolders.get(oid) ?? 0)).map(({oid}) => oid);
}

const stories = fc.array(step, {maxLength: 60, size: 'max'});
const order = fc.shuffledSubarray([...SHARD_NUMBERS], {minLength: SHARD_NUMBERS.length});

describe('rebuild', () => {
  test('records of one moment give the same state, byte for byte, in whatever order and however often they came', async () => {
    await fc.assert(
      fc.asyncProperty(stories, fc.nat(30), order, fc.nat(), async (steps, ms, shards, seed) => {
        const {pieces, state} = await playStory(steps, 4 + ms);
        const twice = (index: number): boolean => ((seed >> (index % 30)) & 1) === 1;
        const {kv, rebuilt} = await remake(pieces, shards, () => pieces.length, {twice});
        expect(copied(kv.rows)).toEqual(copied(state));
        const {mended, namesLost, namesDropped, unnamed, strays, bytesLost} = rebuilt;
        expect([mended, namesLost, namesDropped, unnamed, strays, bytesLost]).toEqual([
          0, 0, 0, 0, 0, 0,
        ]);
        expect(kv.rows.get(keys.IDS_KEY)).not.toEqual(state.get(keys.IDS_KEY));
      }),
      {numRuns: 60},
    );
  });

  test('records of different moments give a tree in which nothing is wrong, with every object of which there is a record', async () => {
    await fc.assert(
      fc.asyncProperty(
        stories,
        order,
        fc.array(fc.nat(9), {minLength: 64}),
        async (steps, shards, lags) => {
          const {pieces} = await playStory(steps, 6);
          const until = (shard: number): number =>
            Math.max(1, pieces.length - (lags[shard % lags.length] ?? 0));
          const there = shards.flatMap((shard) => [
            ...shardAt(pieces, shard, until(shard), () => false),
          ]);
          const made = await remake(pieces, shards, until);
          expect(await findings(made.kv)).toEqual([]);
          expect(wrongLinks(made)).toEqual([]);
          const after = new Set(inodes(made.kv.rows));
          expect(inodes(there).filter((oid) => !after.has(oid))).toEqual([]);
          const {files, directories, others} = made.rebuilt;
          expect(files + directories + others).toBe(after.size);
        },
      ),
      {numRuns: 80},
    );
  });

  test('what is left when shards are lacking is a tree in which nothing is wrong', async () => {
    await fc.assert(
      fc.asyncProperty(stories, order, fc.nat(255), async (steps, shards, lost) => {
        const {pieces} = await playStory(steps, 6);
        // The shard of the superblock is with every server.
        const left = shards.filter((shard) => shard === 256 || (shard * 7 + lost) % 3 !== 0);
        const strays = [
          {
            oid: 2 ** 30,
            size: 5000,
            layout: {
              k: 2,
              m: 1,
              unitBytes: 65_536,
              chunkBytes: 2 ** 26,
              groups: [1],
              generation: 3,
            },
          },
        ];
        const made = await remake(pieces, left, () => pieces.length, {strays});
        expect(await findings(made.kv)).toEqual([]);
        expect(wrongLinks(made)).toEqual([]);
        expect(made.rebuilt.strays).toBe(1);
        const stray = decodeInode(2 ** 30, made.kv.rows.get(keys.inodeKey(2 ** 30))!);
        expect(stray).toMatchObject({
          size: 5000,
          nlink: 1,
          generations: 3,
          layout: strays[0]!.layout,
        });
      }),
      {numRuns: 60},
    );
  });

  test('directories that were moved around one another end in lost+found, with what is in them', async () => {
    const watch = new NotingWatch();
    const f = new MetaFixture(1, {checkpoints: watch, checkpointMs: 1e6});
    const oids: Record<string, number> = {root: 1};
    await f.play(async () => {
      await f.boot();
      f.session = await f.machine.createSession(Buffer.from('s'));
      const noted = async (): Promise<void> => {
        f.machine.checkpoint();
        await f.pass(100);
      };
      for (const name of ['a', 'b', 'c']) oids[name] = (await f.mkdir(1, name)).oid;
      oids.file = (await f.create(oids.a!, 'file')).oid;
      await noted();
      await f.rename(1, 'a', oids.b!, 'a');
      await f.rename(1, 'b', oids.c!, 'b');
      await noted();
      await f.rename(oids.b!, 'a', 1, 'a');
      await f.rename(oids.c!, 'b', oids.a!, 'b');
      await noted();
      await f.machine.close();
    });
    const {pieces} = watch;
    expect(pieces.length).toBeGreaterThanOrEqual(3);
    // Of the root and of b before the way back, of c before the way there, of a after all.
    const ends = new Map([
      [shardOf(keys.inodeKey(1)), 2],
      [shardOf(keys.inodeKey(oids.a!)), 3],
      [shardOf(keys.inodeKey(oids.b!)), 2],
      [shardOf(keys.inodeKey(oids.c!)), 1],
    ]);
    expect(ends.size).toBe(4);
    const made = await remake(pieces, SHARD_NUMBERS, (shard) => ends.get(shard) ?? 3);
    expect(await findings(made.kv)).toEqual([]);
    expect(wrongLinks(made)).toEqual([]);
    expect(made.rebuilt).toMatchObject({unnamed: 1, directories: 5, files: 1});
    const inode = (oid: number) => decodeInode(oid, made.kv.rows.get(keys.inodeKey(oid))!);
    expect(inode(oids.file!)).toMatchObject({nlink: 1, parent: oids.a});
    const [a, b] = [oids.a!, oids.b!].map((oid) => inode(oid).directory!.parent);
    expect([a === oids.b, b === oids.a].filter(Boolean)).toHaveLength(1);
  });
});
