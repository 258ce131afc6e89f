import {expect, test} from '@jest/globals';
import {RealCluster} from '../../../support/real-cluster.js';

// 2+1 in five slots; one of the servers has no room left, the others have.

const OLD = Buffer.alloc(262_144, 1);
const CAPACITY = 32 * 2 ** 20;
/** What a server leaves alone. */
const RESERVE = 4 * 2 ** 20;
const NEW = Buffer.alloc(262_144, 2);

test('one server is full: the program is told ENOSPC, what was fsynced stays, and nobody is put out', () =>
  RealCluster.run(async (cluster) => {
    const {clock} = cluster.meta;
    const a = await cluster.client('a');
    await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: 4096});
    let oid = 0;
    for (let i = 0; oid % 5 !== 1; i++) oid = await a.create(`f${i}`);
    await a.write(oid, 0, OLD);
    await a.client.fsync(oid);
    await cluster.meta.pass(5000);
    const {disk} = cluster.machines[3]!;
    disk.shape = {...disk.shape, capacityBytes: CAPACITY};
    const filler = CAPACITY - disk.usedBytes - RESERVE - 65_536;
    disk.create('filler').write(0, Buffer.alloc(filler, 1));
    await cluster.meta.pass(4000);
    const start = clock.now();
    const told = a.write(oid, OLD.length, NEW).then(() => a.client.fsync(oid));
    await expect(told).rejects.toMatchObject({errno: 'ENOSPC'});
    expect(clock.now() - start).toBeLessThan(2000);
    expect((await a.read(oid, 0, OLD.length)).equals(OLD)).toBe(true);
    expect(await cluster.meta.states()).toBe('RRRRR');
    // What is there is also there without any of its servers.
    await cluster.meta.pass(20_000);
    for (const lost of [1, 2, 3]) {
      cluster.kill(lost, false);
      await cluster.until('RRRRR'.replace(/./g, (_, at) => (at === lost ? 'a' : 'R')));
      expect((await a.read(oid, 0, OLD.length)).equals(OLD)).toBe(true);
      await cluster.start(lost);
      await cluster.until('RRRRR');
    }
    disk.unlink('filler');
    await cluster.meta.pass(40_000);
    await a.write(oid, OLD.length, NEW);
    await a.client.fsync(oid);
    expect((await a.read(oid, OLD.length, NEW.length)).equals(NEW)).toBe(true);
    await a.close();
  }));

test('a cut that fails for want of space takes no bytes with it', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: 4096});
    let oid = 0;
    for (let i = 0; oid % 5 !== 1; i++) oid = await a.create(`f${i}`);
    await a.write(oid, 0, OLD);
    await a.client.fsync(oid);
    await a.write(oid, 100_000, NEW.subarray(0, 100_000));
    const {disk} = cluster.machines[3]!;
    disk.fault = (action) => (action === 'write' ? 'ENOSPC' : null);
    await expect(a.client.setattr(oid, {size: 5000})).rejects.toMatchObject({errno: 'ENOSPC'});
    disk.fault = () => null;
    const expected = Buffer.from(OLD);
    expected.fill(2, 100_000, 200_000);
    expect((await a.read(oid, 8192, OLD.length - 8192)).equals(expected.subarray(8192))).toBe(true);
    await a.close();
  }));

test('a write that waits for room which what cannot be written back takes is ENOSPC, in bounded time', () =>
  RealCluster.run(async (cluster) => {
    const {clock} = cluster.meta;
    const a = await cluster.client('a');
    await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: 4096});
    const oid = await a.create('f');
    for (const {disk} of cluster.machines)
      disk.fault = (action, path) =>
        action === 'write' && path.startsWith('columns/') ? 'ENOSPC' : null;
    const start = clock.now();
    const fill = async () => {
      for (let at = 0; ; at += NEW.length) await a.write(oid, at, NEW);
    };
    await expect(fill()).rejects.toMatchObject({errno: 'ENOSPC'});
    expect(clock.now() - start).toBeLessThan(40_000);
    for (const {disk} of cluster.machines) disk.fault = () => null;
    await expect(a.client.fsync(oid)).rejects.toMatchObject({errno: 'ENOSPC'});
    await a.close();
  }));
