// Goal: a session's new connection is not served while a request of its old one is under way. Method: hold one open.
import {expect, test} from '@jest/globals';
import type {ClusterMap} from '../../../../src/core/cluster/map.js';
import {Gate} from '../../../../src/core/data/gate.js';

const MAP: ClusterMap = {cluster: 'c', epoch: 3, groups: [], fenced: []};

test('idle(session) waits for that session alone', async () => {
  const gate = new Gate('uuid');
  await gate.obey(MAP, async () => {});
  const ends: (() => void)[] = [];
  const held = (session: number) =>
    gate.pass(session, 3, () => new Promise<void>((resolve) => ends.push(resolve)));
  const mine = held(7);
  const other = held(8);
  await Promise.resolve();
  let idle = false;
  const waiting = gate.idle(7).then(() => {
    idle = true;
  });
  await gate.idle(9);
  expect(idle).toBe(false);
  ends[0]!();
  await mine;
  await waiting;
  expect(idle).toBe(true);
  expect(gate.running).toBe(1);
  ends[1]!();
  await other;
});
