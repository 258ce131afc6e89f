// Goal: what an administrator orders is moved, all of it and nothing else, whoever carries it out (SEEDS U37, B13, C22). Method: real servers over simulated disks.
import {describe, expect, test} from '@jest/globals';
import {GROUP} from '../../../../src/core/cluster/map.js';
import {Balance, MOVE, NO_TASK} from '../../../../src/core/cluster/moves.js';
import type {MovesReply, MovesRequest} from '../../../../src/core/protocol/gen/wire.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {asAdmin} from '../../../../src/core/sim/admin.js';
import {SeededRandom} from '../../../../src/core/sim/random.js';
import {META_ADDRESS} from '../../../support/meta-cluster.js';
import {noise} from '../../../support/noise.js';
import {RealCluster} from '../../../support/real-cluster.js';

const TWO_GROUPS = [1, 1, 1, 1, 1, 2, 2, 2, 2, 2];
const MIB = 2 ** 20;

async function moves(
  cluster: RealCluster,
  request: Partial<MovesRequest> = {},
): Promise<MovesReply> {
  const env = cluster.meta.land.machine(`admin ${cluster.meta.land.scheduler.events}`).boot();
  return asAdmin(env, META_ADDRESS, async (peer) => (await peer.call(OPS.moves, request)).message);
}

/** Until the task has ended; at most three minutes. */
async function ended(cluster: RealCluster, id: number): Promise<MovesReply['tasks'][number]> {
  for (let waited = 0; waited < 180_000; waited += 500) {
    const {tasks} = await moves(cluster);
    const task = tasks.find((one) => one.task!.id === id)!;
    if (task.ended) return task;
    await cluster.meta.pass(500);
  }
  throw new Error(`task ${id} does not end`);
}

async function files(cluster: RealCluster, count: number) {
  const a = await cluster.client('a');
  const all: {oid: number; bytes: Buffer}[] = [];
  for (let i = 0; i < count; i++) {
    const oid = await a.create(`f${i}`);
    const bytes = noise(20_000 + i * 7000, i);
    await a.write(oid, 0, bytes);
    await a.client.fsync(oid);
    all.push({oid, bytes});
  }
  return {a, all};
}

const groupsOf = async (
  a: Awaited<ReturnType<RealCluster['client']>>,
  oid: number,
): Promise<number[]> => [...(await a.client.layoutGet(oid)).layout!.groups];

describe('moves', () => {
  test('a folder is converted with all that is below it, and nothing else; it takes a task more of the same nothing', () =>
    RealCluster.run(async (cluster) => {
      await cluster.until('RRRRR');
      const {a, all} = await files(cluster, 3);
      const other = await a.client.mkdir(1, Buffer.from('d'), 0o755, {uid: 0, gid: 0});
      await a.client.syncAll();
      const add = {...NO_TASK, kind: MOVE.convert, root: other.oid, k: 2, m: 1, unitBytes: 8192};
      const first = await moves(cluster, {add});
      expect((await ended(cluster, first.added)).objects).toBe(0);
      expect((await a.client.layoutGet(other.oid)).layout).toMatchObject({k: 2, unitBytes: 8192});
      expect((await a.client.layoutGet(all[0]!.oid)).layout!.k).not.toBe(2);
      const plan = await moves(cluster, {add: {...add, root: 1}, plan: true});
      expect(plan.plan).toMatchObject({objects: 3, bytes: 81_000});
      expect(plan.tasks.every((task) => task.ended)).toBe(true);
      const second = await moves(cluster, {add: {...add, root: 1}});
      expect(await ended(cluster, second.added)).toMatchObject({objects: 3, failed: 0});
      for (const {oid, bytes} of all) {
        const {layout} = await a.client.layoutGet(oid);
        expect(layout).toMatchObject({k: 2, m: 1, unitBytes: 8192, generation: 1});
        expect((await a.read(oid, 0, 100_000)).equals(bytes)).toBe(true);
      }
      const third = await moves(cluster, {add: {...add, root: 1}});
      expect(await ended(cluster, third.added)).toMatchObject({objects: 0, passes: 1});
      await a.close();
    }));

  test('a group that is removed is empty then, though its files are used and the meta server is killed', () =>
    RealCluster.run(
      async (cluster) => {
        await cluster.until('RRRRR');
        const {a, all} = await files(cluster, 12);
        const before = await Promise.all(all.map(({oid}) => groupsOf(a, oid)));
        expect(before.some(([group]) => group === 2)).toBe(true);
        const {added} = await moves(cluster, {add: {...NO_TASK, kind: MOVE.drain, group: 2}});
        await cluster.meta.pass(1500);
        expect((await a.client.status()).map!.groups.map(({state}) => state)).toEqual([
          GROUP.ready,
          GROUP.draining,
        ]);
        cluster.meta.crash(false);
        await cluster.meta.boot();
        const {oid} = all.at(-1)!;
        await a.write(oid, 100, noise(5000, 77));
        noise(5000, 77).copy(all.at(-1)!.bytes, 100);
        expect((await ended(cluster, added)).failed).toBe(0);
        for (const one of all) {
          expect(await groupsOf(a, one.oid)).toEqual([1]);
          expect((await a.read(one.oid, 0, 200_000)).equals(one.bytes)).toBe(true);
        }
        const {map} = await a.client.status();
        expect(map!.groups.map(({id}) => id)).toEqual([1]);
        const left = cluster.machines
          .slice(5)
          .flatMap(({disk}) => [...disk.paths].filter((path) => path.startsWith('columns/')));
        expect(left).toEqual([]);
        await a.close();
      },
      1,
      undefined,
      TWO_GROUPS,
    ));

  test('who has not synced what he wrote to a group that is removed hears that it is safe', () =>
    RealCluster.run(
      async (cluster) => {
        await cluster.until('RRRRR');
        const {a, all} = await files(cluster, 12);
        const b = await cluster.client('b');
        const groups = await Promise.all(all.map(({oid}) => groupsOf(a, oid)));
        const {oid, bytes} = all[groups.findIndex(([group]) => group === 2)]!;
        const drain = {...NO_TASK, kind: MOVE.drain, group: 2};
        const {added} = await moves(cluster, {add: drain, paused: 2});
        // Long enough for the group to go as soon as nothing is in it.
        await cluster.meta.pass(70_000);
        await a.write(oid, 0, noise(bytes.length, 5));
        await b.read(oid, 0, 1);
        expect(a.client.parts.holder.peek(oid)!.unsynced.size).toBeGreaterThan(0);
        // Disks are slow.
        const {columns} = a.client.parts.path;
        const {call} = columns;
        columns.call = (async (...args: Parameters<typeof call>) => {
          if (args[2].name === 'data.sync') await cluster.pause(8000);
          return call.apply(columns, args);
        }) as never;
        await moves(cluster, {paused: 1});
        await cluster.meta.pass(3000);
        expect(await groupsOf(a, oid)).toEqual([1]);
        await a.client.fsync(oid);
        expect((await a.read(oid, 0, 200_000)).equals(noise(bytes.length, 5))).toBe(true);
        expect((await ended(cluster, added)).failed).toBe(0);
        for (const one of [b, a]) await one.close();
      },
      1,
      undefined,
      TWO_GROUPS,
    ));

  test('the only group is not drained, and a task that is stopped does no more', () =>
    RealCluster.run(async (cluster) => {
      await cluster.until('RRRRR');
      const drain = {...NO_TASK, kind: MOVE.drain, group: 1};
      await expect(moves(cluster, {add: drain})).rejects.toMatchObject({errno: 'EBUSY'});
      const {a} = await files(cluster, 2);
      const add = {...NO_TASK, kind: MOVE.convert, root: 1, k: 2, m: 1};
      const {added, order} = await moves(cluster, {add, paused: 2});
      expect(order).toMatchObject({paused: true});
      await cluster.meta.pass(5000);
      expect((await moves(cluster)).tasks).toMatchObject([{objects: 0, ended: false}]);
      await moves(cluster, {stop: added, paused: 1});
      await cluster.meta.pass(5000);
      expect((await moves(cluster)).tasks).toMatchObject([{objects: 0, stopped: true}]);
      await expect(moves(cluster, {stop: added})).rejects.toMatchObject({errno: 'ENOENT'});
      await a.close();
    }));
});

describe('a balance', () => {
  const layout = (group: number) => ({k: 4, m: 1, groups: [group]});
  const groups = [1, 2, 3].map((id) => ({id, slots: 5, totalBytes: 1000 * MIB}));

  test('comes within the tolerance, and the next one finds nothing to do', () => {
    for (let seed = 1; seed <= 50; seed++) {
      const random = new SeededRandom(seed);
      const objects = Array.from({length: 200}, () => ({
        group: random.pick([1, 1, 1, 2]),
        size: 1 + random.below(MIB),
      }));
      const pass = (): number => {
        const balance = new Balance(groups, 10);
        for (const {group, size} of objects) balance.add(layout(group), size);
        let moved = 0;
        for (const one of objects) {
          const chosen = balance.choose(layout(one.group), one.size);
          if (chosen === null) continue;
          moved++;
          one.group = chosen[0]!;
        }
        return moved;
      };
      expect(pass()).toBeGreaterThan(0);
      const loads = [1, 2, 3].map((id) =>
        objects.filter(({group}) => group === id).reduce((sum, {size}) => sum + size, 0),
      );
      const mean = loads.reduce((a, b) => a + b, 0) / 3;
      expect(Math.max(...loads)).toBeLessThanOrEqual(1.1 * mean);
      expect(pass()).toBe(0);
    }
  });

  test('one object that is as large as all others together stays where it is', () => {
    const balance = new Balance(groups.slice(0, 2), 10);
    balance.add(layout(1), 100 * MIB);
    expect(balance.choose(layout(1), 100 * MIB)).toBeNull();
  });
});
