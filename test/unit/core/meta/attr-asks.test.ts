import {expect, test} from '@jest/globals';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {MetaCluster} from '../../../support/meta-cluster.js';

// The holder's size is what everybody sees, whatever else the holder asks for while it is asked.

test('a request of the holder that brings no size does not void the size that it reports', () =>
  MetaCluster.run(async (c) => {
    const [a, b] = [await c.client('a'), await c.client('b')];
    const {oid} = (await a.create('f')).attr;
    a.sizes.set(oid, 500);
    const link = {oid, parent: 1, name: Buffer.from('f')};
    let overtaken = 0;
    // Over all moments at which it may come between the question and its answer.
    for (let ms = 0; ms < 2; ms += 0.02) {
      const before = a.reports;
      const seen = b.getattr(oid);
      await c.pass(ms);
      const linked = a.call(OPS.link, link).catch(() => {});
      expect((await seen).attr.size).toBe(500);
      await linked;
      if (a.reports > before + 1) overtaken++;
      // What was stored is behind again.
      a.sizes.set(oid, 400);
      await b.getattr(oid);
      a.sizes.set(oid, 500);
    }
    expect(overtaken).toBeGreaterThan(0);
  }));

test('a listing asks a holder about everything that it holds in one message, and has what it says', () =>
  MetaCluster.run(async (c) => {
    const [a, b] = [await c.client('a'), await c.client('b')];
    const oids: number[] = [];
    for (let i = 0; i < 30; i++) oids.push((await a.create(`f${i}`)).attr.oid);
    for (const oid of oids) a.sizes.set(oid, oid * 3);
    const before = a.reports;
    const list = {oid: 1, cookie: 0, maxEntries: 100, attributes: true};
    const {entries} = await b.call(OPS.readdir, list);
    expect(new Map(entries.map(({oid, attr}) => [oid, attr?.size]))).toEqual(
      new Map(oids.map((oid) => [oid, oid * 3])),
    );
    expect(a.reports).toBe(before + 1);
  }));
