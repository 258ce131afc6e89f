// Goal: a file lies where its inode says, also if its maker has just changed what its folder gives. Method: real servers, two clients.
import {expect, test} from '@jest/globals';
import {RealCluster} from '../../../support/real-cluster.js';

const name = (text: string): Uint8Array => Buffer.from(text);
const CALLER = {uid: 0, gid: 0};
const BYTES = Buffer.alloc(300_000, 'cpfs');

test.each([
  ['an attribute', (a, oid) => a.setxattr(oid, name('user.cpfs.scheme'), name('1+2'), 0)],
  ['a layout', (a, oid) => a.layoutSet(oid, {k: 1, m: 2})],
] as [
  string,
  (a: Awaited<ReturnType<RealCluster['client']>>['client'], oid: number) => Promise<void>,
][])('a folder that this client has made gets %s before its first file', (_what, change) =>
  RealCluster.run(async (cluster) => {
    const {client: a} = await cluster.client('a');
    // From the second one on folders are made here, under the lease of the root.
    await a.mkdir(1, name('first'), 0o40755, CALLER);
    const d = (await a.mkdir(1, name('d'), 0o40755, CALLER)).oid;
    const changed = change(a, d);
    // As the kernel does. Its answer may be that of before.
    await a.getattr(d);
    await changed;
    await a.getattr(d);
    const options = {exclusive: true, truncate: false};
    const {oid} = (await a.create(d, name('f'), 0o100644, CALLER, options)).attr;
    const {pool} = a.parts.path;
    for (let at = 0; at < BYTES.length; at += 60_000) {
      const slot = pool.alloc(60_000);
      pool.bytes.set(BYTES.subarray(at, at + 60_000), pool.payload(slot));
      await a.write(oid, at, [{slot, offset: pool.payload(slot), length: 60_000}]);
    }
    await a.fsync(oid);
    const {layout} = await a.layoutGet(oid);
    expect([layout.k, layout.m]).toEqual([1, 2]);
    expect(a.parts.holder.peek(oid)!.layout).toEqual(layout);
    const b = await cluster.client('b');
    expect((await b.read(oid, 0, BYTES.length)).equals(BYTES)).toBe(true);
    await b.close();
    a.release(oid);
    await a.close(10_000);
  }),
);
