import {describe, expect, test} from '@jest/globals';
import {locate} from '../../../../src/core/client/place.js';
import {recoverSlot} from '../../../../src/core/client/repair.js';
import {type ClusterMap, SLOT} from '../../../../src/core/cluster/map.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {noise} from '../../../support/noise.js';
import {RealCluster} from '../../../support/real-cluster.js';

describe('repair', () => {
  test('a server that was away is brought up to date, so that any other may be lost then', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const files: {oid: number; bytes: Buffer}[] = [];
      for (let i = 0; i < 5; i++) {
        const oid = await a.create(`f${i}`);
        const bytes = noise(i * 70_000 + 10, i);
        await a.write(oid, 0, bytes);
        await a.client.fsync(oid);
        files.push({oid, bytes});
      }
      cluster.kill(1, false);
      await cluster.until('RaRRR');
      for (const {oid, bytes} of files) {
        const part = noise(Math.min(bytes.length, 9000), 99);
        await a.write(oid, 0, part);
        part.copy(bytes, 0);
        await a.client.fsync(oid);
      }
      await cluster.start(1);
      await cluster.until('RRRRR');
      for (const lost of [0, 2]) {
        cluster.kill(lost, false);
        await cluster.until(
          ['R', 'R', 'R', 'R', 'R'].map((s, i) => (i === lost ? 'a' : s)).join(''),
        );
        for (const {oid, bytes} of files)
          expect((await a.read(oid, 0, 400_000)).equals(bytes)).toBe(true);
        await cluster.start(lost);
        await cluster.until('RRRRR');
      }
      await a.close();
    }));

  test('all five lose power: what was fsynced is there, and the group is whole after the resync', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const oid = await a.create('f');
      const bytes = noise(300_000, 4);
      await a.write(oid, 0, bytes);
      await a.client.fsync(oid);
      for (let index = 0; index < 5; index++) cluster.kill(index, true);
      await cluster.meta.pass(1000);
      await Promise.all([0, 1, 2, 3, 4].map((index) => cluster.start(index)));
      await cluster.until('RRRRR');
      expect((await a.read(oid, 0, 400_000)).equals(bytes)).toBe(true);
      await cluster.meta.pass(10_000);
      cluster.kill(3, false);
      await cluster.until('RRRaR');
      expect((await a.read(oid, 0, 400_000)).equals(bytes)).toBe(true);
      await a.close();
    }));

  // A server that starts knows which 64 objects something of was dirty, and asks about all of them.
  test('an object that is made after a recovery has asked about it keeps its column', () =>
    RealCluster.run(async (cluster) => {
      const repair = await cluster.client('repair');
      const a = await cluster.client('a');
      const before = await a.create('f');
      const layout = a.client.parts.holder.peek(before)!.layout!;
      // Not every number becomes an object: this one does next.
      const oid = before + 2;
      const bytes = noise(300_000, 5);
      const make = async (): Promise<void> => {
        expect(await a.create('g')).toBe(oid);
        await a.write(oid, 0, bytes);
        await a.client.fsync(oid);
      };
      const {parts} = repair.client;
      const inner = parts.path.columns;
      const slot = locate(inner.map, layout, oid, 0).slots[0]!;
      let made: Promise<void> | null = null;
      const columns: typeof inner = {
        get map(): ClusterMap {
          const groups = inner.map.groups.map((group) => ({
            ...group,
            slots: group.slots.map((one, at) =>
              at === slot ? {...one, state: SLOT.recovering} : one,
            ),
          }));
          return {...inner.map, groups};
        },
        lives: inner.lives,
        call: async (...args) => {
          const op: unknown = args[2];
          // It has been told that there is no such object, and what it does about that takes its time.
          if (op === OPS.remove || op === OPS.missedClear) {
            made ??= make();
            await made;
          }
          return inner.call(...args);
        },
        report: (...args) => inner.report(...args),
        newer: (...args) => inner.newer(...args),
      };
      const client = {...repair.client, parts: {...parts, path: {...parts.path, columns}}};
      await recoverSlot(client, 1, slot, {
        stopped: () => false,
        intents: [{oid, chunk: 0, generation: 0}],
        empty: false,
        done: new Set(),
      });
      expect(made).not.toBeNull();
      await a.close();
      const b = await cluster.client('b');
      expect((await b.read(oid, 0, 400_000)).equals(bytes)).toBe(true);
      await b.close();
      await repair.close();
    }));
});
