import {afterEach, beforeEach, expect, test} from '@jest/globals';
import type {Surroundings} from '../../../../src/core/data/gate.js';
import {noteMissed} from '../../../../src/core/data/missed.js';
import {list} from '../../../../src/core/data/ops/list.js';
import {punch} from '../../../../src/core/data/ops/punch.js';
import {settle} from '../../../../src/core/data/ops/settle.js';
import {sync} from '../../../../src/core/data/ops/sync.js';
import {DataBench, MAP_EPOCH, mapOf} from '../../../support/data.js';

let bench: DataBench;
beforeEach(async () => {
  bench = await DataBench.open('RRRR');
});
afterEach(() => bench.close());

// 2+1 in four slots; this server has slot 0, the columns lie in slots 0, 1, 2.
const ref = (oid: number, chunk: number, epoch = MAP_EPOCH) => ({
  ...bench.ref(oid, chunk, 0, epoch),
  k: 2,
  m: 1,
});
const touch = (oid: number, chunk: number, epoch = MAP_EPOCH): Promise<unknown> =>
  punch({ref: ref(oid, chunk, epoch), ranges: [{offset: 0, length: 4096}]}, bench.context);

/** Takes up a map, as the server does. */
let epoch = MAP_EPOCH;
async function obey(states: string, wholeAt: number[] = []): Promise<void> {
  const {gate} = bench.context;
  const map = mapOf(states, ++epoch);
  const groups = map.groups.map((group) => ({
    ...group,
    slots: group.slots.map((slot, i) => ({...slot, wholeAt: wholeAt[i] ?? 0})),
  }));
  await gate.obey({...map, groups}, (after: Surroundings) =>
    noteMissed(bench.context, gate.around, after, epoch - 1),
  );
}
beforeEach(() => {
  epoch = MAP_EPOCH;
});

async function noted(slot: number, kind = 'missed'): Promise<string[]> {
  const {message} = await list({kind, cursor: '', max: 0, slot, oid: 0}, bench.context);
  return message.chunks!.map(({oid, chunk}) => `${oid}.${chunk}`);
}

test('an intent that others can read without the slot is missed by it, but maybe only', async () => {
  await touch(70, 3);
  await touch(70, 0);
  await obey('RaRR');
  expect(await noted(1)).toEqual(['70.0', '70.3']);
  expect(await noted(1, 'written')).toEqual([]);
  await touch(70, 3, epoch);
  expect(await noted(1, 'written')).toEqual(['70.3']);
  await bench.end();
  await bench.start('RaRR');
  expect(await noted(1, 'written')).toEqual(['70.3']);
});

test('one that cannot be read is missed by nobody, until it can be', async () => {
  await touch(70, 3);
  await obey('RaaR');
  expect([await noted(1), await noted(2)]).toEqual([[], []]);
  // A slot that is recovering is not read.
  await obey('RcaR');
  expect(await noted(2)).toEqual([]);
  await obey('RRaR');
  expect([await noted(1), await noted(2)]).toEqual([[], ['70.3']]);
});

test('a later life knows what it has of a chunk', async () => {
  await touch(70, 3);
  await touch(70, 0);
  await bench.end();
  await bench.start('RRRR');
  await obey('RaaR');
  expect(await noted(1)).toEqual([]);
  await obey('RaRR');
  expect((await noted(1)).sort()).toContain('70.3');
});

test('what cannot be read stays an intent, whoever settles it', async () => {
  await touch(70, 3);
  await sync({epoch, chunks: [ref(70, 3)], all: false}, bench.context);
  await obey('RaaR');
  await settle({epoch, chunks: [ref(70, 3)], checked: false}, bench.context);
  expect(await noted(0, 'intents')).toEqual(['70.3']);
  await obey('RRaR');
  await settle({epoch, chunks: [ref(70, 3)], checked: false}, bench.context);
  expect(await noted(0, 'intents')).toEqual([]);
  expect(await noted(2)).toEqual(['70.3']);
});

test('what was noted of a slot before it was made whole says nothing', async () => {
  await obey('RaRR');
  await touch(70, 3, epoch);
  expect(await noted(1)).toEqual(['70.3']);
  // This server was not there when it became whole, and when it was lost again.
  await obey('RcRR', [0, epoch + 1]);
  expect(await noted(1)).toEqual([]);
});
