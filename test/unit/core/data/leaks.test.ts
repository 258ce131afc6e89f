// Goal: what a server keeps of a removed object goes some time, and nothing else does. Method: real servers over simulated disks, with a short grace time.
import {expect, test} from '@jest/globals';
import {pathOf} from '../../../../src/core/data/format.js';
import {RealCluster} from '../../../support/real-cluster.js';

const GRACE_MS = 10_000;
const SETTLED_MS = 20_000;
const BYTES = Buffer.alloc(30_000, 7);

const fileOf = (oid: number): string => pathOf({oid, chunk: 0, generation: 0});

/** Which servers have a column of it. */
const holders = ({machines}: RealCluster, oid: number): number[] =>
  machines.flatMap(({disk}, index) => (disk.file(fileOf(oid)) === undefined ? [] : [index]));

test('a column that came back after its removal goes after the grace time; what is made meanwhile stays (B14)', () =>
  RealCluster.run(
    async (cluster) => {
      const a = await cluster.client('a');
      const make = async (name: string): Promise<number> => {
        const oid = await a.create(name);
        await a.write(oid, 0, BYTES);
        await a.client.fsync(oid);
        return oid;
      };
      const kept = await make('kept');
      const gone = await make('gone');
      a.client.release(gone);
      await a.client.unlink(1, Buffer.from('gone'));
      await a.client.syncAll();
      while (holders(cluster, gone).length > 0) await cluster.meta.pass(100);
      const [first, second] = holders(cluster, kept) as [number, number];
      for (const index of [first, second]) cluster.machines[index]!.disk.create(fileOf(gone));
      await cluster.meta.pass(SETTLED_MS + GRACE_MS / 2);
      // Another life of the meta server: from its start on it counts anew.
      cluster.meta.crash(false);
      await cluster.meta.boot();
      await cluster.until('RRRRR');
      await cluster.meta.pass(SETTLED_MS + GRACE_MS / 2);
      expect(holders(cluster, gone).sort()).toEqual([first, second].sort());
      const later: number[] = [];
      for (let i = 0; i < 20; i++) {
        later.push(await make(`later${i}`));
        await cluster.meta.pass(1_000);
      }
      expect(holders(cluster, gone)).toEqual([]);
      const b = await cluster.client('b');
      for (const oid of [kept, ...later])
        expect((await b.read(oid, 0, BYTES.length)).equals(BYTES)).toBe(true);
      await a.close();
      await b.close();
    },
    3,
    GRACE_MS,
  ));
