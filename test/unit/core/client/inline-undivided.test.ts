// Goal: a file that is kept with its inode is in one hand, whoever had it before. Method: three clients; two ask for different blocks of it
// while a third one has it, and get it when that one gives it up.
import {expect, test} from '@jest/globals';
import {ClientCluster} from '../../../support/client-cluster.js';

const BLOCK = 4096;

test.each([1, 2, 3, 4])(
  'two write different blocks of a small file that a third one had: both are there (seed %i)',
  (seed) =>
    ClientCluster.run(async (cluster) => {
      const small = {inlineBytesMax: 4 * BLOCK};
      const [a, b, third] = await Promise.all(
        ['a', 'b', 'third'].map((name) => cluster.client(name, small)),
      );
      const oid = await third!.create('f');
      await third!.write(oid, 0, Buffer.alloc(3 * BLOCK, 1));
      await third!.client.fsync(oid);
      for (let round = 2; round < 6; round++) {
        await third!.write(oid, BLOCK, Buffer.alloc(1, round));
        await Promise.all([
          a!.write(oid, 0, Buffer.alloc(BLOCK, 10 * round)),
          b!.write(oid, 2 * BLOCK, Buffer.alloc(BLOCK, 20 * round)),
        ]);
        for (const one of [a!, b!]) expect(one.client.parts.holder.peek(oid)!.split).toBe(false);
        const seen = await third!.read(oid, 0, 3 * BLOCK);
        const first = [0, BLOCK, 2 * BLOCK].map((at) => seen[at]);
        expect(first).toEqual([10 * round, round, 20 * round]);
      }
      for (const one of [a!, b!, third!]) await one.close();
    }, seed),
);
