// Goal: a client that ends while the meta server is restarted does not make others wait: the next life of the meta server hears that it has gone,
// and does not wait for it to come back. Method: whole servers and clients in simulation.
import {expect, test} from '@jest/globals';
import {RealCluster} from '../../../support/real-cluster.js';

test.each([
  ['before the meta server dies', 0],
  ['while it is down', 500],
])('a client ends %s: a call of another one waits only for the restart', (_when, afterMs) =>
  RealCluster.run(async (cluster) => {
    const {meta} = cluster;
    const [a, b] = [await cluster.client('a'), await cluster.client('b')];
    const oid = await b.create('f');
    await b.write(oid, 0, Buffer.alloc(4096, 1));
    await b.client.fsync(oid);
    // It has nothing to tell.
    await meta.pass(5000);
    let closing: Promise<void> = Promise.resolve();
    if (afterMs === 0) closing = a.close();
    meta.crash(false);
    const begun = meta.land.scheduler.now;
    const made = b.create('g');
    if (afterMs > 0) {
      await cluster.pause(afterMs);
      closing = a.close();
    }
    await cluster.pause(2000);
    await meta.boot();
    await b.client.fsync(await made);
    expect(meta.land.scheduler.now - begun).toBeLessThan(6000);
    await closing;
    await b.close();
  }),
);
