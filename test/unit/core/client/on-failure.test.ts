// Goal: where more servers are lost than the redundancy bears, what is left is read, and the rest is EIO at once or waits, as the client wants it;
// a restart is waited for (DESIGN section 9). Method: whole servers and clients in simulation.
import {expect, test} from '@jest/globals';
import {openClient} from '../../../../src/core/client/index.js';
import {PlainCodec} from '../../../../src/core/sim/codec.js';
import {TestClient} from '../../../support/client-cluster.js';
import {META_ADDRESS} from '../../../support/meta-cluster.js';
import {RealCluster} from '../../../support/real-cluster.js';

const UNIT = 4096;
const BYTES = Uint8Array.from({length: 4 * UNIT}, (_, i) => 1 + (i >> 12));
const LOST = [0, 2];

async function reader(cluster: RealCluster, name: string, wait: boolean): Promise<TestClient> {
  const machine = cluster.meta.land.machine(name);
  const env = {...machine.boot(), codec: new PlainCodec()};
  const options = {meta: META_ADDRESS, name, inlineBytesMax: 0, waitOnFailure: wait};
  return new TestClient(await openClient(env, options), env, machine);
}

/** A file of a block in each of four columns, read by nobody yet. */
async function file(cluster: RealCluster): Promise<number> {
  const a = await cluster.client('a');
  await a.client.layoutSet(1, {k: 4, m: 1, unitBytes: UNIT});
  const oid = await a.create('f');
  await a.write(oid, 0, BYTES);
  await a.client.fsync(oid);
  await cluster.meta.pass(6000);
  await a.close();
  return oid;
}

/** What became of reads of the four units, and how long each took. */
async function units(cluster: RealCluster, a: TestClient, oid: number) {
  const seen: {value: number; ms: number}[] = [];
  for (let unit = 0; unit < 4; unit++) {
    const begun = cluster.meta.land.scheduler.now;
    const read = a.read(oid, unit * UNIT, UNIT).then(
      (bytes) => bytes[0]!,
      (error: {errno: string}) => (error.errno === 'EIO' ? -1 : 0),
    );
    seen.push({value: await read, ms: cluster.meta.land.scheduler.now - begun});
  }
  return seen;
}

test('what is left is read, the rest is EIO: at once, when it is no restart', () =>
  RealCluster.run(async (cluster) => {
    const oid = await file(cluster);
    const b = await reader(cluster, 'b', false);
    expect((await b.read(oid, 0, BYTES.length)).equals(BYTES)).toBe(true);
    await cluster.lose(LOST);
    const first = await units(cluster, b, oid);
    const again = await units(cluster, b, oid);
    for (const seen of [first, again]) {
      expect(seen.every(({value}, unit) => value === -1 || value === unit + 1)).toBe(true);
      expect(seen.filter(({value}) => value === -1).length).toBeGreaterThan(0);
      expect(seen.filter(({value}) => value > 0).length).toBeGreaterThanOrEqual(2);
    }
    const waits = first.filter(({value}) => value === -1).map(({ms}) => ms);
    expect(waits[0]).toBeGreaterThan(5_000);
    for (const ms of [...waits.slice(1), ...again.map((one) => one.ms)])
      expect(ms).toBeLessThan(500);
    await cluster.back(LOST);
    expect((await b.read(oid, 0, BYTES.length)).equals(BYTES)).toBe(true);
    await b.close();
  }));

test('a restart is waited for', () =>
  RealCluster.run(async (cluster) => {
    const oid = await file(cluster);
    const b = await reader(cluster, 'b', false);
    for (let round = 0; round < 2; round++) {
      await cluster.lose(LOST);
      const read = b.read(oid, 0, BYTES.length);
      await cluster.meta.pass(8_000);
      for (const index of LOST) await cluster.start(index);
      expect((await read).equals(BYTES)).toBe(true);
      await cluster.allAre(LOST, 'R');
      await cluster.meta.pass(22_000);
    }
    await b.close();
  }));

test('who wants to waits for long, and gets the bytes', () =>
  RealCluster.run(async (cluster) => {
    const oid = await file(cluster);
    const b = await reader(cluster, 'b', true);
    await cluster.lose(LOST);
    let done = false;
    const read = b.read(oid, 0, BYTES.length).finally(() => {
      done = true;
    });
    await cluster.meta.pass(120_000);
    expect(done).toBe(false);
    await cluster.back(LOST);
    expect((await read).equals(BYTES)).toBe(true);
    await b.close();
  }));
