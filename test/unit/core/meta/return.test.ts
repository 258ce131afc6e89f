import {describe, expect, test} from '@jest/globals';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {MetaCluster, refusal, type ToyClient} from '../../../support/meta-cluster.js';

// What a client had under way when its connection broke, or the meta server with it: a yield with a size, a close.

const {run} = MetaCluster;

/** The yield that a client sends, the first time or again. */
const yieldOf = (oid: number, size: number) => ({
  oid,
  keep: 0,
  attr: {
    oid,
    size,
    hasSize: true,
    blocks: 1,
    mtime: null,
    atime: null,
    hasMtime: false,
    hasAtime: false,
    hasInline: false,
    grow: false,
    inlineBytes: 0,
  },
});

/** It has sent a yield that never came. */
function lostYield(client: ToyClient, oid: number): void {
  client.held.delete(oid);
  client.yielding.add(oid);
}

async function restart(c: MetaCluster, power = false): Promise<void> {
  c.crash(power);
  await c.boot();
  for (const server of c.servers) await server.connect();
}

async function sendAgain(a: ToyClient, oid: number, size: number, id?: number): Promise<void> {
  await a.call(OPS.yieldLease, yieldOf(oid, size), id);
  a.yielding.delete(oid);
}

describe('a yield with a size, without an answer', () => {
  test('the meta server restarts before it came: nobody sees the object without that size', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      lostYield(a, oid);
      await restart(c);
      await b.connect();
      const lease = b.call(OPS.lease, {oid, mode: 2});
      const stat = b.getattr(oid);
      await a.connect();
      await c.pass(3_000);
      await sendAgain(a, oid, 500);
      expect((await stat).attr.size).toBe(500);
      expect((await lease).attr.size).toBe(500);
      expect((await c.status()).map.fenced).toEqual([]);
    }));

  test('it had been carried out and the lease given on: both come back, and it changes nothing', () =>
    run(async (c) => {
      for (const first of ['a', 'b']) {
        const [a, b] = [await c.client(`a, ${first} first`), await c.client(`b, ${first} first`)];
        const {oid} = (await a.create(`f${first}`)).attr;
        a.stubborn = true;
        a.opens.clear();
        const lease = b.lease(oid, 2);
        await c.pass(10);
        await a.call(OPS.yieldLease, yieldOf(oid, 500));
        const id = a.lastId;
        lostYield(a, oid);
        await lease;
        const item = {...yieldOf(oid, 900).attr, oid};
        await b.call(OPS.flush, {items: [item]});
        await restart(c);
        for (const client of first === 'a' ? [a, b] : [b, a]) await client.connect();
        await sendAgain(a, oid, 500, id);
        expect((await a.getattr(oid)).attr.size).toBe(900);
        await b.call(OPS.flush, {items: [{...item, size: 901}]});
        expect((await b.getattr(oid)).attr.size).toBe(901);
        expect((await c.status()).map.fenced).toEqual([]);
        await b.yield(oid, 0);
        for (const client of [a, b]) await client.call(OPS.goodbye, {});
      }
    }));

  test('a power cut took it from the log after the lease was given on: the holder knows better', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      await a.call(OPS.syncMeta, {});
      lostYield(a, oid);
      b.held.set(oid, 2);
      await restart(c, true);
      await b.connect();
      await a.connect();
      await sendAgain(a, oid, 500);
      expect((await b.getattr(oid)).attr.size).toBe(0);
      expect((await c.status()).map.fenced).toEqual([]);
    }));

  test('only the connection breaks: the object stays held until it comes', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      a.stubborn = true;
      const lease = b.call(OPS.lease, {oid, mode: 2});
      await c.pass(10);
      lostYield(a, oid);
      a.peer.close('reset');
      await a.connect();
      await c.pass(1_000);
      await sendAgain(a, oid, 500);
      expect((await lease).attr.size).toBe(500);
    }));

  test('sent again after the session got the lease anew: that one stays', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      await a.call(OPS.yieldLease, yieldOf(oid, 500));
      const id = a.lastId;
      a.held.delete(oid);
      await a.lease(oid, 2);
      await a.call(OPS.yieldLease, yieldOf(oid, 500), id);
      await a.call(OPS.flush, {items: [yieldOf(oid, 501).attr]});
      expect((await b.getattr(oid)).attr.size).toBe(501);
    }));

  test('it never comes: the session is fenced, and the grace period ends', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      lostYield(a, oid);
      a.silent = true;
      await restart(c);
      await a.connect();
      await b.connect();
      const before = c.clock.now();
      expect(await b.lease(oid, 2)).toBe(2);
      expect(c.clock.now() - before).toBeLessThan(23_000);
      expect(await refusal(a.getattr(oid))).not.toBe('none');
      const status = await c.status();
      expect(status.map.fenced).toEqual([a.session]);
      // What it was writing is being checked.
      expect(status.recoveryLeft).toBe(1);
      await c.pass(4_000);
      expect((await c.status()).recoveryLeft).toBe(0);
    }));
});
