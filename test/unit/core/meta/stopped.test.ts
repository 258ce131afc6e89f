// Goal: a meta server that was stopped (SIGSTOP, a virtual machine that paused) blames nobody for its own silence. Method: it is frozen in a
// simulated world, while others go on talking to it.
import {expect, test} from '@jest/globals';
import {sleep} from '../../../../src/core/env/clock.js';
import {MetaCluster} from '../../../support/meta-cluster.js';

const WRITE = 2;

/** Stops the meta server for so long by the others' clocks. */
async function stopped(c: MetaCluster, ms: number, meanwhile = async () => {}): Promise<void> {
  const {clock} = c.land.machine(`watch ${c.land.scheduler.events}`).boot();
  c.host.freeze();
  // Its timers wait before what is said to it.
  await sleep(clock, 500);
  await meanwhile();
  await sleep(clock, ms - 500);
  c.host.thaw();
}

test('no data server is put out, no session ends (stopped for 20 s)', () =>
  MetaCluster.run(async (c) => {
    const a = await c.client('a');
    const {oid} = (await a.create('f')).attr;
    await a.lease(oid, WRITE);
    const {epoch} = (await c.status()).map;
    await stopped(c, 20_000);
    await c.pass(1_000);
    const {map, sessions} = await c.status();
    expect(await c.states()).toBe('RRRRR');
    expect(map.epoch).toBe(epoch);
    expect(sessions.map(({id}) => id)).toEqual([a.session]);
  }));

test('who gave back what was recalled while nobody listened is not fenced', () =>
  MetaCluster.run(async (c) => {
    const [a, b] = [await c.client('a'), await c.client('b')];
    const {oid} = (await a.create('f')).attr;
    a.stubborn = true;
    const lease = b.lease(oid, WRITE);
    await c.pass(5_000);
    let yielded: Promise<void> | null = null;
    await stopped(c, 7_000, async () => {
      yielded = a.yield(oid, 0);
    });
    await yielded;
    await lease;
    expect((await c.status()).map.fenced).toEqual([]);
  }));

test('who is silent when it listens again is lost as ever', () =>
  MetaCluster.run(async (c) => {
    c.servers[1]!.host.freeze();
    await stopped(c, 6_000);
    await c.pass(5_000);
    expect(await c.states()).toBe('RaRRR');
  }));
