import {describe, expect, test} from '@jest/globals';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {MetaCluster, type ToyClient} from '../../../support/meta-cluster.js';

// What was not synced may be lost with the machine: whoever acted on it must not have.

const {run} = MetaCluster;
const SEEDS = [1, 2, 3, 4, 5, 6];

/** A file on stable storage that has been unlinked since. */
async function unlinked(a: ToyClient, name: string): Promise<number> {
  const {oid} = (await a.create(name)).attr;
  await a.call(OPS.syncMeta, {});
  await a.unlink(name);
  await a.release(oid);
  return oid;
}

async function powerCut(c: MetaCluster): Promise<ToyClient> {
  c.crash(true);
  await c.boot();
  for (const server of c.servers) await server.connect();
  return c.client('later');
}

describe('a name that a power cut brings back has its bytes', () => {
  test.each(SEEDS)('columns are removed when the removal is synced (seed %i)', (seed) =>
    run(async (c) => {
      const oid = await unlinked(await c.client('a'), 'f');
      while (!c.servers.some(({removed}) => removed.includes(oid))) await c.pass(1);
      const b = await powerCut(c);
      await expect(b.getattr(oid)).rejects.toThrow('ENOENT');
    }, seed),
  );

  test.each(SEEDS)('a data server hears that they are gone only then (seed %i)', (seed) =>
    run(async (c) => {
      const oid = await unlinked(await c.client('a'), 'f');
      while (
        (await c.servers[0]!.peer!.call(OPS.exists, {oids: [oid]})).message.missing.length === 0
      )
        await c.pass(1);
      const b = await powerCut(c);
      await expect(b.getattr(oid)).rejects.toThrow('ENOENT');
    }, seed),
  );

  test.each(SEEDS)('so does a client that asks for a lease, as repair does (seed %i)', (seed) =>
    run(async (c) => {
      const a = await c.client('a');
      const oid = await unlinked(a, 'f');
      await c.pass(100);
      await expect(a.lease(oid, 2)).rejects.toThrow('ENOENT');
      const b = await powerCut(c);
      await expect(b.getattr(oid)).rejects.toThrow('ENOENT');
    }, seed),
  );
});

test('a client that had made an object learns that it is gone, and holds nothing of it', () =>
  run(async (c) => {
    const a = await c.client('a');
    const kept = (await a.create('kept')).attr.oid;
    await a.call(OPS.syncMeta, {});
    const lost = (await a.create('lost')).attr.oid;
    c.crash(true);
    await c.boot();
    for (const server of c.servers) await server.connect();
    await a.connect(false);
    const claim = {oids: [kept, lost], modes: [2, 2], opens: [1, 1], yielding: [false, false]};
    expect((await a.call(OPS.reclaim, claim)).gone).toEqual([lost]);
    await a.call(OPS.reclaim, {});
    await c.pass(6_000);
    expect((await c.status()).sessions).toMatchObject([{leases: 1, opens: 1}]);
  }));
