import {expect, test} from '@jest/globals';
import {Gate} from '../../../../src/core/data/gate.js';
import {mapOf} from '../../../support/data.js';
import {settled} from '../../../support/manual-clock.js';

const kind = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'done',
    (error: {kind?: string; message: string}) => error.kind ?? error.message,
  );

test('U90: a map is obeyed when what had passed has ended; what comes meanwhile waits', async () => {
  const gate = new Gate('me');
  expect(await kind(gate.pass(1, 1, async () => {}))).toBe('Busy');
  await gate.obey(mapOf('RRRRR', 1, []), async () => {});
  let end = (): void => {};
  const order: string[] = [];
  const old = gate.pass(1, 1, () => new Promise<void>((resolve) => (end = resolve)));
  await settled();
  const obeyed = gate
    .obey(mapOf('RRaRR', 2, [3]), async () => void order.push('prepared'))
    .then(() => order.push('obeyed'));
  const answers = [
    kind(gate.pass(1, 1, async () => {})),
    kind(gate.pass(1, 2, async () => void order.push('new'))),
    kind(gate.pass(3, 2, async () => {})),
    kind(gate.pass(1, 3, async () => {})),
  ];
  await settled();
  expect(order).toEqual([]);
  expect(gate.map?.epoch).toBe(1);
  end();
  await old;
  await obeyed;
  expect(await Promise.all(answers)).toEqual(['StaleEpoch', 'done', 'Fenced', 'BehindEpoch']);
  expect(order.indexOf('prepared')).toBe(0);
  expect(gate.around).toMatchObject({slot: 0, away: [2]});
});

test('a map that cannot be taken up leaves the old one', async () => {
  const gate = new Gate('me');
  await gate.obey(mapOf('RRRRR', 1), async () => {});
  const failed = gate.obey(mapOf('RRRRR', 2), () => Promise.reject(new Error('disk')));
  expect(await kind(failed)).toBe('disk');
  expect(await kind(gate.pass(1, 1, async () => {}))).toBe('done');
});

test('a request that fails has ended, too; shut waits for the last', async () => {
  const gate = new Gate('me');
  await gate.obey(mapOf('RRRRR', 1), async () => {});
  expect(await kind(gate.pass(1, 1, () => Promise.reject(new Error('EIO'))))).toBe('EIO');
  expect(gate.running).toBe(0);
  let end = (): void => {};
  const last = gate.pass(1, 1, () => new Promise<void>((resolve) => (end = resolve)));
  await settled();
  const order: string[] = [];
  const shut = gate.shut().then(() => order.push('shut'));
  await settled();
  order.push('end');
  end();
  await last;
  await shut;
  expect(order).toEqual(['end', 'shut']);
  expect(await kind(gate.pass(1, 1, async () => {}))).toBe('Busy');
});
