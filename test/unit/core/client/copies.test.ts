import {describe, expect, test} from '@jest/globals';
import {Copies} from '../../../../src/core/client/copies.js';
import {type ChunkPlace, locate} from '../../../../src/core/client/place.js';
import {GROUP, SLOT, type SlotState} from '../../../../src/core/cluster/map.js';
import {SeededRandom} from '../../../../src/core/sim/random.js';
import {ManualClock} from '../../../support/manual-clock.js';

const KIB = 1024;

/** A chunk of three copies, on servers at these places. */
function chunk(locations: readonly string[], states: readonly SlotState[] = []): ChunkPlace {
  const slots = locations.map((location, index) => ({
    state: states[index] ?? SLOT.ready,
    stale: false,
    server: {
      uuid: `s${index}`,
      address: `s${index}`,
      totalBytes: 0,
      freeBytes: 0,
      badBlocks: 0,
      connected: true,
      io: '',
      location,
    },
  }));
  const map = {cluster: 'c', epoch: 1, fenced: [], groups: [{id: 1, state: GROUP.ready, slots}]};
  const layout = {
    k: 1,
    m: locations.length - 1,
    unitBytes: 4096,
    chunkBytes: 4096,
    generation: 0,
    groups: [1],
  };
  return locate(map, layout, 0, 0);
}

function rig(location = '') {
  const clock = new ManualClock();
  const copies = new Copies(clock, new SeededRandom(1), location);
  return {
    clock,
    copies,
    /** A read of 4 KiB of column `column` that takes `ms`. */
    async read(place: ChunkPlace, column: number, ms: number): Promise<void> {
      const ended = copies.begin(place.infos[column]!.server!.uuid, 4 * KIB);
      await clock.advance(ms);
      ended(true);
    },
    /** How often each column is picked. */
    picks(place: ChunkPlace, count = 300): number[] {
      const counts = place.infos.map(() => 0);
      for (let i = 0; i < count; i++) {
        const column = copies.pick(place, 5);
        counts[column] = counts[column]! + 1;
      }
      return counts;
    },
  };
}

describe('which copy is read', () => {
  test('among equals any, each about as often (P33)', () => {
    for (const count of rig().picks(chunk(['', '', '']))) expect(count).toBeGreaterThan(70);
  });

  test('the nearest, by what of the location is the same from the left (P5, U30)', () => {
    const place = chunk(['room2/rack3/h3', 'room1/rack2/h2', 'room1/rack1/h1']);
    expect(rig('room1/rack1/h1').picks(place)).toEqual([0, 0, 300]);
    expect(rig('room1/rack2/h9').picks(place)).toEqual([0, 300, 0]);
    // The names of racks mean nothing in another room.
    const [, second, third] = rig('room1/rack3/h3').picks(place);
    expect(second! + third!).toBe(300);
    expect(Math.min(...rig('room7').picks(place))).toBeGreaterThan(70);
  });

  test('only what can be read', () => {
    const place = chunk(['a', 'b', 'a'], [SLOT.away, SLOT.ready, SLOT.recovering]);
    expect(rig('a').picks(place)).toEqual([0, 300, 0]);
  });

  test('not the one that is more than twice as slow, however near, until it may have changed', async () => {
    const place = chunk(['here', 'there', 'there']);
    const {picks, read, clock} = rig('here');
    for (let i = 0; i < 20; i++) {
      await read(place, 0, 20);
      await read(place, 1, 2);
      await read(place, 2, 2);
    }
    expect(picks(place)[0]).toBe(0);
    await clock.advance(3000);
    expect(picks(place)).toEqual([300, 0, 0]);
  });

  test('not the one that has much to do already', () => {
    const place = chunk(['', '']);
    const {copies, picks} = rig();
    const ends = Array.from({length: 8}, () =>
      copies.begin(place.infos[0]!.server!.uuid, 1024 * KIB),
    );
    expect(picks(place)).toEqual([0, 300]);
    for (const end of ends) end(false);
    expect(Math.min(...picks(place))).toBeGreaterThan(100);
  });
});

test('copies that may differ are not chosen from: all read the first one that can be read (world 7300001)', () => {
  const {copies} = rig();
  const place = chunk(['', '', '']);
  const infos = place.infos.map((info, column) => ({...info, madeAt: column === 2 ? 7 : 0}));
  const picks = (one: ChunkPlace, alike: number): number[] => [
    ...new Set(Array.from({length: 100}, () => copies.pick(one, alike))),
  ];
  // A resync is to come.
  expect(picks(place, -1)).toEqual([0]);
  // One has come back since without what it had not synced.
  expect(picks({...place, infos}, 6)).toEqual([0]);
  expect(picks({...place, infos}, 7).length).toBe(3);
  const [first, ...others] = infos;
  const away = [{...first!, state: SLOT.away}, ...others];
  expect(picks({...place, infos: away}, 6)).toEqual([1]);
});
