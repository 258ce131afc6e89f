import {expect, test} from '@jest/globals';
import {Refusal} from '../../../../src/core/base/errors.js';
import {ClientCluster} from '../../../support/client-cluster.js';

test('what is written after a recall that was too late is not given up with what was lost by it', () =>
  ClientCluster.run(async (cluster) => {
    const [a, b] = [await cluster.client('a'), await cluster.client('b')];
    const oid = await a.create('f');
    await a.write(oid, 0, Buffer.alloc(8192, 1));
    await a.client.fsync(oid);
    for (const one of cluster.columns)
      one.before = (op) => {
        if (op === 'write') throw new Refusal('Busy');
      };
    await a.write(oid, 0, Buffer.alloc(4096, 2));
    // The background begins to write it, and fails with the recall.
    await cluster.meta.pass(2000);
    expect(await b.read(oid, 0, 8192)).toEqual(Buffer.alloc(8192, 1));
    for (const one of cluster.columns) one.before = () => {};
    await a.write(oid, 4096, Buffer.alloc(4096, 3));
    // It is told of what was lost, once.
    await expect(a.client.fsync(oid)).rejects.toMatchObject({errno: 'EIO'});
    await a.client.fsync(oid);
    const left = Buffer.concat([Buffer.alloc(4096, 1), Buffer.alloc(4096, 3)]);
    expect(await b.read(oid, 0, 8192)).toEqual(left);
    await a.close();
    await b.close();
  }));

test('a recall of a meta server that was killed meanwhile costs nothing: the next one gives its own time', () =>
  ClientCluster.run(async (cluster) => {
    const {meta, columns} = cluster;
    const [a, b] = [await cluster.client('a'), await cluster.client('b')];
    const oid = await a.create('f');
    await a.write(oid, 0, Buffer.alloc(8192, 1));
    await a.client.fsync(oid);
    for (const one of columns)
      one.before = (op) => {
        if (op === 'write') throw new Refusal('Busy');
      };
    await a.write(oid, 0, Buffer.alloc(4096, 2));
    const read = b.read(oid, 0, 4096);
    await meta.pass(7000);
    meta.crash(false);
    await meta.boot();
    for (const server of meta.servers) await server.connect();
    // Too late for the first recall by now.
    await meta.pass(3000);
    for (const one of columns) one.before = () => {};
    expect(await read).toEqual(Buffer.alloc(4096, 2));
    await a.client.fsync(oid);
    await a.close();
    await b.close();
  }));
