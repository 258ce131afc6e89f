import {expect, test} from '@jest/globals';
import {InlineCache, type Inlined} from '../../../../src/core/client/inline-cache.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {ClientCluster, type TestClient} from '../../../support/client-cluster.js';
import {RealCluster} from '../../../support/real-cluster.js';

// Small files live with their inodes (docs, "Small files").

const MAX = 16_384;
const ALL = [0, 1, 2, 3, 4];
const bytes = (length: number, seed = 1): Buffer =>
  Buffer.from(Array.from({length}, (_, i) => (i * 7 + seed * 31 + (i >> 8)) & 255));
const held = (a: TestClient, oid: number) => a.client.parts.holder.get(oid);

/** How many inline bytes the meta server has of an object, which somebody holds for writing or nobody looks at afterwards. */
async function stored(cluster: RealCluster | ClientCluster, oid: number): Promise<number> {
  const probe = await cluster.meta.client(`probe ${cluster.meta.clock.now()}`);
  const {inlineBytes} = await probe.call(OPS.open, {oid});
  await probe.call(OPS.goodbye, {});
  return inlineBytes;
}

test('create, write and fsync of a small file are one message, and none to a data server', () =>
  ClientCluster.run(async (cluster) => {
    const a = await cluster.client('a', {inlineBytesMax: MAX});
    // With the first one come the directory, and numbers.
    a.client.release(await a.create('first'));
    await a.client.lookup(1, Buffer.from('f')).catch(() => {});
    const {metaCalls} = a.client.stats;
    const oid = await a.create('f');
    await a.write(oid, 0, bytes(4000));
    await a.client.fsync(oid);
    expect(a.client.stats.metaCalls - metaCalls).toBe(1);
    expect(a.client.stats.dataCalls).toBe(0);
    expect(await stored(cluster, oid)).toBe(4000);
    // Whoever opens it gets the bytes with the lease.
    const b = await cluster.client('b', {inlineBytesMax: MAX});
    await b.open('f', false);
    const before = b.client.stats.metaCalls;
    expect((await b.read(oid, 0, 5000)).equals(bytes(4000))).toBe(true);
    expect((await b.read(oid, 3000, 5000)).equals(bytes(4000).subarray(3000))).toBe(true);
    // Its writer held the lease: it came, with the bytes, for the first read.
    expect(b.client.stats.metaCalls).toBe(before + 1);
    expect(b.client.stats.dataCalls).toBe(0);
    await a.close();
    await b.close();
  }));

test('a hundred small files are written back in a few messages', () =>
  ClientCluster.run(async (cluster) => {
    const a = await cluster.client('a', {inlineBytesMax: MAX, dirtyBytesMax: 4_000_000});
    const oids: number[] = [];
    for (let i = 0; i < 100; i++) {
      const oid = await a.create(`f${i}`);
      await a.write(oid, 0, bytes(4000, i));
      oids.push(oid);
    }
    const {metaCalls} = a.client.stats;
    await cluster.meta.pass(3000);
    expect(a.client.stats.metaCalls - metaCalls).toBeLessThan(12);
    for (const oid of [oids[0]!, oids[50]!, oids[99]!])
      expect(await stored(cluster, oid)).toBe(4000);
    await a.close();
  }));

test('it is cut, grows sparse, and what is cut off or was never written is zeros', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a', MAX);
    const b = await cluster.client('b', MAX);
    const oid = await a.create('f');
    await a.write(oid, 0, bytes(8000));
    await a.client.fsync(oid);
    await a.client.setattr(oid, {size: 5000});
    expect(await stored(cluster, oid)).toBe(5000);
    await a.client.setattr(oid, {size: 100_000});
    const expected = Buffer.concat([bytes(8000).subarray(0, 5000), Buffer.alloc(95_000)]);
    for (const one of [a, b]) expect((await one.read(oid, 0, 200_000)).equals(expected)).toBe(true);
    // From a holder that has not seen it grow.
    await b.write(oid, 6000, bytes(1000));
    expected.set(bytes(1000), 6000);
    for (const one of [a, b]) expect((await one.read(oid, 0, 200_000)).equals(expected)).toBe(true);
    await a.close();
    await b.close();
  }));

test('it moves to columns when it grows, and the meta server keeps it until they are synced', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a', MAX);
    const oid = await a.create('f');
    const old = bytes(10_000);
    await a.write(oid, 0, old);
    await a.client.fsync(oid);
    await cluster.meta.pass(6000);
    await a.write(oid, 9000, bytes(30_000, 2));
    const sent: string[] = [];
    const {columns} = a.client.parts.path;
    const call = columns.call.bind(columns);
    columns.call = (async (group, slot, op, ...rest) => {
      sent.push(`${op.name}:${await stored(cluster, oid)}`);
      return call(group, slot, op, ...rest);
    }) as typeof columns.call;
    await a.client.parts.flusher.flush(held(a, oid));
    expect(await stored(cluster, oid)).toBe(0);
    const syncs = sent.filter((one) => one.startsWith(OPS.sync.name));
    expect(syncs.length).toBeGreaterThan(0);
    expect(syncs.every((one) => one === `${OPS.sync.name}:10000`)).toBe(true);
    columns.call = call;
    const expected = Buffer.concat([old.subarray(0, 9000), bytes(30_000, 2)]);
    const b = await cluster.client('b', MAX);
    for (const one of [a, b]) expect((await one.read(oid, 0, 50_000)).equals(expected)).toBe(true);
    await a.close();
    await b.close();
  }));

test('what was fsynced is there when all servers lose power while it moves', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a', MAX);
    const oid = await a.create('f');
    const old = bytes(10_000);
    await a.write(oid, 0, old);
    await a.client.fsync(oid);
    // The columns are written, their sync never comes: its client dies, then everything.
    await a.write(oid, 10_000, bytes(30_000, 2));
    const {columns} = a.client.parts.path;
    const call = columns.call.bind(columns);
    columns.call = ((group, slot, op, ...rest) =>
      (op.code as number) === OPS.sync.code
        ? new Promise(() => {})
        : call(group, slot, op, ...rest)) as typeof columns.call;
    void a.client.parts.flusher.flush(held(a, oid));
    await cluster.meta.pass(1000);
    a.machine.kill(false);
    for (const index of ALL) cluster.kill(index, true);
    await cluster.until('aaaaa');
    for (const index of ALL) await cluster.start(index);
    await cluster.until('RRRRR');
    const b = await cluster.client('b', MAX);
    expect((await b.read(oid, 0, 10_000)).equals(old)).toBe(true);
    await b.close();
  }));

test('what was told and not synced is told again when the meta server lost power', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a', MAX);
    const oid = await a.create('f');
    await a.client.fsync(oid);
    await a.write(oid, 0, bytes(4000));
    await a.client.parts.flusher.flush(held(a, oid));
    expect(await stored(cluster, oid)).toBe(4000);
    cluster.meta.crash(true);
    await cluster.meta.boot();
    await cluster.until('RRRRR');
    await a.client.fsync(oid);
    expect(await stored(cluster, oid)).toBe(4000);
    const b = await cluster.client('b', MAX);
    expect((await b.read(oid, 0, 5000)).equals(bytes(4000))).toBe(true);
    await a.close();
    await b.close();
  }));

test('a client keeps a bounded number of inline bytes, and forgets none that only it may have', () => {
  const cache = new InlineCache();
  const make = (safe: boolean) => {
    const object: Inlined & {inlineBytes: number; inlineSafe: boolean} = {
      inlineBytes: 0,
      inlineSafe: safe,
      forgetInline() {
        const before = object.inlineBytes;
        object.inlineBytes = 0;
        cache.used(object, -before);
      },
    };
    object.inlineBytes = 1 << 20;
    cache.used(object, 1 << 20);
    return object;
  };
  const unsafe = Array.from({length: 20}, () => make(false));
  const safe = Array.from({length: 40}, () => make(true));
  expect(cache.bytes).toBeLessThanOrEqual(32 << 20);
  expect(unsafe.every((one) => one.inlineBytes > 0)).toBe(true);
  expect(safe.at(-1)!.inlineBytes).toBe(1 << 20);
  expect(safe[0]!.inlineBytes).toBe(0);
});

test('a size that is told beside a truncation does not come after it', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await a.create('f');
    await a.write(oid, 0, bytes(500));
    const {columns} = a.client.parts.path;
    const call = columns.call.bind(columns);
    let go = (): void => {};
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    columns.call = (async (group, slot, op, ...rest) => {
      if ((op.code as number) === OPS.write.code) await gate;
      return call(group, slot, op, ...rest);
    }) as typeof columns.call;
    const fsync = a.client.fsync(oid);
    await cluster.meta.pass(10);
    // The file has grown when fsync tells its size, and is cut at the same time.
    await a.write(oid, 60_000, bytes(3000));
    const cut = a.client.setattr(oid, {size: 20_000});
    await cluster.meta.pass(10);
    go();
    await Promise.all([fsync, cut]);
    expect((await a.client.getattr(oid)).size).toBe(20_000);
    const b = await cluster.client('b');
    expect((await b.client.getattr(oid)).size).toBe(20_000);
    await b.read(oid, 0, 10);
    expect((await b.client.getattr(oid)).size).toBe(20_000);
    await a.close();
    await b.close();
  }));
