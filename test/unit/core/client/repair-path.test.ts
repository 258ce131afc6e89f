import {expect, test} from '@jest/globals';
import {type ChunkPlace, canWrite} from '../../../../src/core/client/place.js';
import {lacks, listAll, type Missed} from '../../../../src/core/client/repair-path.js';
import {SLOT, type SlotInfo} from '../../../../src/core/cluster/map.js';
import type {Layout} from '../../../../src/core/layout/scheme.js';
import {RealCluster} from '../../../support/real-cluster.js';

const layout = {k: 2, m: 1, unitBytes: 4096} as Layout;
const ready = (since: number): SlotInfo => ({state: SLOT.ready, server: null, stale: false, since});
/** Lost in epoch 7. */
const recovering: SlotInfo = {
  state: SLOT.recovering,
  server: null,
  stale: false,
  since: 9,
  lostAt: 7,
};

function place(infos: SlotInfo[]): ChunkPlace {
  return {oid: 5, chunk: 0, generation: 0, layout, group: 1, epoch: 10, slots: [0, 1, 2], infos};
}

/** Chunk 0 of object 5, as these slots have noted it. */
function noted(...slots: number[]): Missed {
  const written = new Map(slots.length > 0 ? [['5.0.0', new Set(slots)]] : []);
  return {all: new Map(), written, empty: false};
}

test('a chunk is not written while a slot of it has never had a server', () => {
  const empty: SlotInfo = {state: SLOT.empty, server: null, stale: false};
  expect(canWrite(place([ready(2), ready(3), recovering]))).toBe(true);
  expect(canWrite(place([ready(2), ready(3), empty]))).toBe(false);
});

test('a slot lacks what was noted by one that was ready all the time', () => {
  const others = [ready(2), ready(3)];
  expect(lacks(place([recovering, ...others]), 0, noted(1, 2))).toBe(true);
  expect(lacks(place([recovering, ...others]), 0, noted(2))).toBe(true);
  expect(lacks(place([recovering, ...others]), 0, noted())).toBe(false);
});

test('a note of one that was away since proves nothing beside one that was there and has none', () => {
  expect(lacks(place([recovering, ready(2), ready(8)]), 0, noted(2))).toBe(false);
  expect(lacks(place([recovering, ready(2), recovering]), 0, noted(2))).toBe(false);
});

test('where nobody was there all the time every note counts, and an empty slot lacks everything', () => {
  expect(lacks(place([recovering, ready(8), ready(9)]), 0, noted(2))).toBe(true);
  expect(lacks(place([recovering, ready(2), ready(3)]), 0, {...noted(), empty: true})).toBe(true);
});

test('a resync leaves a chunk alone whose columns agree: nobody lacks anything of it (size in a block)', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: 4096});
    const oid = await a.create('f');
    await a.write(oid, 0, Buffer.alloc(30_001, 7));
    await a.client.fsync(oid);
    a.machine.kill(false);
    const away = (oid + 2) % 5;
    cluster.kill(away, false);
    await cluster.until('RRRRR'.replace(/./g, (_, at) => (at === away ? 'a' : 'R')));
    // The session ends after 15 s of silence; then the order is carried out.
    for (let waited = 0; waited < 40; waited++) await cluster.meta.pass(1000);
    expect((await cluster.meta.status()).map!.fenced).toHaveLength(1);
    const b = await cluster.client('b');
    const left = [];
    for (const slot of [oid % 5, (oid + 1) % 5])
      left.push(...(await listAll(b.client.parts.path, 1, slot, 'written', away)));
    expect(left).toEqual([]);
    await b.close();
  }));
