// Goal: an object that is moved to another layout keeps every byte, for everybody, and nothing of it stays where it was (SEEDS U37, B13).
import {describe, expect, test} from '@jest/globals';
import type {Target} from '../../../../src/core/client/move.js';
import {moveObject} from '../../../../src/core/client/relocate.js';
import type {Layout} from '../../../../src/core/layout/scheme.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {noise} from '../../../support/noise.js';
import {RealCluster} from '../../../support/real-cluster.js';

const TWO_GROUPS = [1, 1, 1, 1, 1, 2, 2, 2, 2, 2];
const READY = 'R'.repeat(5);
const KEPT = {stopped: () => false};

const wide = (groups: readonly number[]): Target => ({
  k: 2,
  m: 1,
  unitBytes: 8192,
  chunkBytes: 65_536,
  groups,
  groupCount: 1,
});
const to =
  (target: Target) =>
  (_layout: Layout): Target =>
    target;

/** Columns of an object, as `server.chunk.generation`. */
const columnsOf = (cluster: RealCluster, oid: number): string[] =>
  cluster.machines
    .flatMap(({disk}, index) =>
      [...disk.paths].flatMap((path) => {
        const match = /^columns\/..\/([0-9a-f]+)\.(\d+)\.([0-9a-f]+)$/.exec(path);
        if (match === null || Number.parseInt(match[1]!, 16) !== oid) return [];
        return [`${index}.${match[2]}.${match[3]}`];
      }),
    )
    .sort();

describe('a move to another layout', () => {
  test('keeps every byte and hole, and leaves nothing where it was', () =>
    RealCluster.run(
      async (cluster) => {
        await cluster.until(READY);
        const mover = await cluster.client('mover');
        const a = await cluster.client('a');
        const b = await cluster.client('b');
        const oid = await a.create('f');
        const bytes = Buffer.alloc(900_000);
        noise(300_000, 1).copy(bytes, 0);
        noise(70_001, 2).copy(bytes, 700_000);
        await a.write(oid, 0, bytes.subarray(0, 300_000));
        await a.write(oid, 700_000, bytes.subarray(700_000, 770_001));
        await a.client.fsync(oid);
        const before = a.client.parts.holder.peek(oid)!.layout!;
        const group = before.groups[0] === 1 ? 2 : 1;
        const moved = await moveObject(mover.client, oid, to(wide([group])), KEPT);
        expect(moved.is).toBe('moved');
        // A hole is not copied; what lies around it is, in pieces.
        expect(moved.bytes).toBeLessThan(600_000);
        const {layout} = await b.client.layoutGet(oid);
        expect(layout).toMatchObject({k: 2, m: 1, groups: [group], generation: 1});
        // Who has written it before, and who comes anew.
        for (const one of [a, b])
          expect((await one.read(oid, 0, 900_000)).equals(bytes.subarray(0, 770_001))).toBe(true);
        await a.write(oid, 5000, noise(200_000, 3));
        noise(200_000, 3).copy(bytes, 5000);
        await a.client.fsync(oid);
        expect((await b.read(oid, 0, 900_000)).equals(bytes.subarray(0, 770_001))).toBe(true);
        await cluster.meta.pass(5000);
        const left = columnsOf(cluster, oid);
        expect(left.length).toBeGreaterThan(0);
        expect(left.filter((name) => !name.endsWith('.1'))).toEqual([]);
        // Chunks 5 to 9 are the hole.
        expect(left.filter((name) => /^\d+\.[6789]\./.test(name))).toEqual([]);
        for (const one of [mover, a, b]) await one.close();
      },
      1,
      undefined,
      TWO_GROUPS,
    ));

  test('is given up when somebody wants the object, and goes well the next time', () =>
    RealCluster.run(async (cluster) => {
      await cluster.until(READY);
      const mover = await cluster.client('mover');
      const a = await cluster.client('a');
      const oid = await a.create('f');
      const bytes = noise(100_000, 4);
      await a.write(oid, 0, bytes);
      await a.client.fsync(oid);
      let asked = 0;
      const stopped = (): boolean => ++asked > 0;
      expect((await moveObject(mover.client, oid, to(wide([1])), {stopped})).is).toBe('busy');
      await cluster.meta.pass(3000);
      expect(columnsOf(cluster, oid).every((name) => name.endsWith('.0'))).toBe(true);
      expect((await moveObject(mover.client, oid, to(wide([1])), KEPT)).is).toBe('moved');
      expect((await a.read(oid, 0, 200_000)).equals(bytes)).toBe(true);
      await cluster.meta.pass(3000);
      // The first attempt had a generation of its own.
      expect(columnsOf(cluster, oid).every((name) => name.endsWith('.2'))).toBe(true);
      await mover.close();
      await a.close();
    }));

  test('of a mover that dies leaves the object as it was, and what it copied goes', () =>
    RealCluster.run(async (cluster) => {
      await cluster.until(READY);
      const mover = await cluster.client('mover');
      const a = await cluster.client('a');
      const oid = await a.create('f');
      const bytes = noise(100_000, 5);
      await a.write(oid, 0, bytes);
      await a.client.fsync(oid);
      const {session} = mover.client.parts;
      const {call} = session;
      // It has copied everything, and dies before it can say so.
      session.call = (async (op: unknown, request: {begin?: boolean}, ...rest: never[]) => {
        if (op === OPS.relocate && request.begin === false) return new Promise(() => {});
        return (call as (...args: unknown[]) => unknown).call(session, op, request, ...rest);
      }) as never;
      void moveObject(mover.client, oid, to(wide([1])), KEPT);
      await cluster.meta.pass(2000);
      expect(columnsOf(cluster, oid).some((name) => name.endsWith('.1'))).toBe(true);
      mover.machine.kill(false);
      expect((await a.read(oid, 0, 200_000)).equals(bytes)).toBe(true);
      await cluster.meta.pass(60_000);
      expect(columnsOf(cluster, oid).every((name) => name.endsWith('.0'))).toBe(true);
      await a.close();
    }));

  test('who wrote before it and syncs after it asks where he wrote, and does not wait for columns that are not there', () =>
    RealCluster.run(async (cluster) => {
      await cluster.until(READY);
      const mover = await cluster.client('mover');
      const a = await cluster.client('a');
      const oid = await a.create('f');
      const bytes = noise(100_000, 7);
      await a.client.fsync(oid);
      await a.write(oid, 0, bytes);
      const held = a.client.parts.holder.peek(oid)!;
      // The move takes the lease, and so writes back what is dirty; nothing is synced.
      expect((await moveObject(mover.client, oid, to(wide([1])), KEPT)).is).toBe('moved');
      expect(held.unsynced.size).toBeGreaterThan(0);
      expect((await a.read(oid, 0, 200_000)).equals(bytes)).toBe(true);
      expect([held.unsynced.size, held.left.length > 0]).toEqual([0, true]);
      const {clock} = a.client.parts.path;
      const before = clock.now();
      await a.client.fsync(oid);
      expect(clock.now() - before).toBeLessThan(5000);
      expect(held.left).toEqual([]);
      await mover.close();
      await a.close();
    }));

  test('while a server is away is made up for when it is back', () =>
    RealCluster.run(async (cluster) => {
      await cluster.until(READY);
      const mover = await cluster.client('mover');
      const a = await cluster.client('a');
      const oid = await a.create('f');
      const bytes = noise(300_000, 6);
      await a.write(oid, 0, bytes);
      await a.client.fsync(oid);
      cluster.kill(1, false);
      await cluster.until('RaRRR');
      expect((await moveObject(mover.client, oid, to(wide([1])), KEPT)).is).toBe('moved');
      await cluster.start(1);
      await cluster.until(READY);
      await cluster.meta.pass(10_000);
      expect(columnsOf(cluster, oid).every((name) => name.endsWith('.1'))).toBe(true);
      cluster.kill(2, false);
      await cluster.until('RRaRR');
      expect((await a.read(oid, 0, 400_000)).equals(bytes)).toBe(true);
      await mover.close();
      await a.close();
    }));
});
