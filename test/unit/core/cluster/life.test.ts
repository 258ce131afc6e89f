import {describe, expect, test} from '@jest/globals';
import {HELD_MS, maintenanceLeft} from '../../../../src/core/cluster/life.js';
import {decodeState, encodeState} from '../../../../src/core/cluster/state.js';
import {ControlWorld, OUT_AFTER} from '../../../support/control-world.js';

const SERVERS = ['a', 'b', 'c', 'd', 'e'];

function whole(): ControlWorld {
  const world = new ControlWorld();
  for (const uuid of SERVERS) world.start(uuid, 1);
  world.pass(1000);
  return world;
}

describe('a maintenance', () => {
  const begin = (world: ControlWorld, servers: string[]): void => {
    const order = {servers, forMs: 60_000, beganMs: 0, why: ''};
    world.control.state.maintenance = order;
  };

  test('keeps the slot of a server that is away, and after it the usual time begins', () => {
    const world = whole();
    world.start('spare', 0);
    begin(world, ['b']);
    world.stop('b');
    world.pass(5 * OUT_AFTER);
    expect(world.seats()).toBe('a b! c d e');
    world.control.state.maintenance = undefined;
    world.pass(OUT_AFTER - 1000);
    expect(world.seats()).toBe('a b! c d e');
    world.pass(3000);
    expect(world.seats()).toBe('a spare* c d e');
  });

  test('of one server is nothing to the others', () => {
    const world = whole();
    world.start('spare', 0);
    begin(world, ['b']);
    world.stop('c');
    world.pass(OUT_AFTER + 3000);
    expect(world.seats()).toBe('a b spare* d e');
  });

  test('of nobody by name is one of all, and an administrator may still replace one', () => {
    const world = whole();
    world.start('spare', 0);
    begin(world, []);
    world.stop('c');
    world.pass(3 * OUT_AFTER);
    expect(world.seats()).toBe('a b c! d e');
    world.replace(1, 2, '', false);
    world.pass(1000);
    expect(world.seats()).toBe('a b spare* d e');
  });

  test('outlives the meta server, and a wrong clock makes it neither endless nor longer', () => {
    const world = whole();
    begin(world, ['b']);
    const {maintenance} = decodeState(encodeState(world.control.state), 0);
    expect(maintenance).toEqual({servers: ['b'], forMs: 60_000, beganMs: 0, why: ''});
    const order = {servers: [], forMs: 60_000, beganMs: 1_000_000, why: ''};
    expect(maintenanceLeft(order, 1_020_000)).toBe(40_000);
    expect(maintenanceLeft(order, 1_000_000 - 86_400_000)).toBe(60_000);
    expect(maintenanceLeft(order, 1_000_000 + 86_400_000)).toBe(0);
  });
});

describe('a cluster that was shut down', () => {
  function closed(): ControlWorld {
    const world = whole();
    world.control.close();
    for (const uuid of SERVERS) {
      world.stop(uuid);
      world.pass(20_000);
    }
    return world;
  }

  test('loses nobody while its servers stop', () => {
    const world = closed();
    expect(world.seats()).toBe('a b c d e');
    expect(world.control.state.groups[0]!.slots.map(({since}) => since)).toEqual(
      whole().control.state.groups[0]!.slots.map(({since}) => since),
    );
  });

  test('waits for all of them, in any order, and writes nothing without those that are late', () => {
    const world = closed();
    world.restart();
    const {epoch} = world.control;
    for (const uuid of ['e', 'b', 'a', 'd']) {
      world.start(uuid, 0);
      world.pass(30_000);
      // What clients may know is from before: no group is degraded for them, and none was written so.
      expect(world.control.publishedEpoch).toBe(epoch);
      expect(world.control.heldUntil).not.toBeNull();
      expect(world.control.missing.map(({uuid}) => uuid)).toContain('c');
    }
    expect(world.control.missing.map(({uuid}) => uuid)).toEqual(['c']);
    world.start('c', 0);
    world.pass(3000);
    expect(world.control.heldUntil).toBeNull();
    expect(world.control.state.closed).toBeUndefined();
    expect(world.seats()).toBe('a b c d e');
    // Nobody missed anything: nothing is rebuilt.
    expect(world.control.state.groups[0]!.slots.every(({stale}) => !stale)).toBe(true);
  });

  test('does without those that never come after some minutes, or when an administrator says so', () => {
    for (const how of ['time', 'administrator']) {
      const world = closed();
      world.restart();
      for (const uuid of ['a', 'b', 'd', 'e']) world.start(uuid, 0);
      world.pass(10_000);
      expect(world.control.heldUntil).not.toBeNull();
      if (how === 'time') world.pass(HELD_MS);
      else world.run(world.control.open('as an administrator asked', world.now));
      world.pass(2000);
      expect(world.control.heldUntil).toBeNull();
      expect(world.seats()).toBe('a b c! d e');
      expect(world.control.publishedEpoch).toBe(world.control.epoch);
    }
  });

  test('that was killed and not shut down does not wait', () => {
    const world = whole();
    for (const uuid of SERVERS) world.stop(uuid);
    world.restart();
    for (const uuid of ['a', 'b', 'd', 'e']) world.start(uuid, 0);
    world.pass(10_000);
    expect(world.seats()).toBe('a b c! d e');
  });
});
