// Goal: however many objects lose their last name at once, those that wait in memory are bounded, and all end. Method: toy parts around the removals,
// on a simulated clock.
import {expect, test} from '@jest/globals';
import {silentLog} from '../../../../src/core/env/log.js';
import {Removals} from '../../../../src/core/meta/removal.js';
import {SimLand} from '../../../../src/core/sim/machine.js';
import {defer, play} from '../../../support/sim.js';

const COUNT = 20_000;

test('orphans beyond what memory may hold are found again, those that came meanwhile and those that were open, too', async () => {
  const land = new SimLand(1, defer);
  await play(land, async () => {
    const {clock} = land.machine('meta').boot();
    const pass = (ms: number): Promise<void> =>
      new Promise((resolve) => void clock.timer(ms, resolve));
    const orphans = new Set(Array.from({length: COUNT}, (_, i) => i + 1));
    const open = new Set([1, 2, COUNT]);
    let reaped = 0;
    let looked = 0;
    let go: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      go = resolve;
    });
    const removals = new Removals({clock, log: silentLog}, {
      machine: {
        orphans: (after: number, limit: number) => {
          const found = [...orphans].filter((oid) => oid > after).slice(0, limit);
          looked += found.length;
          return found;
        },
        isOrphan: (oid: number) => orphans.has(oid),
        reap: async ([oid]: [number]) => {
          await pass(1);
          expect(orphans.delete(oid)).toBe(true);
          reaped++;
        },
        removals: () => [],
      },
      cluster: {},
      leases: {
        table: {grace: false},
        exclusive: async (_oid: number, run: () => Promise<void>) => {
          await held;
          await run();
        },
      },
      sessions: {isOpen: (oid: number) => open.has(oid)},
    } as unknown as ConstructorParameters<typeof Removals>[1]);
    removals.start();
    await pass(1000);
    expect(looked).toBeLessThan(6000);
    for (let oid = COUNT + 1; oid <= COUNT + 500; oid++) {
      orphans.add(oid);
      removals.unused(oid);
    }
    go();
    await pass(20_000);
    expect([...orphans].sort((a, b) => a - b)).toEqual([1, 2, COUNT]);
    open.clear();
    for (const oid of [...orphans]) removals.unused(oid);
    await pass(1000);
    expect([orphans.size, reaped]).toEqual([0, COUNT + 500]);
    removals.close();
  });
});
