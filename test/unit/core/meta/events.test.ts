// Goal: the list of events keeps what is worth it, is bounded, and can be read on from where somebody was. Method: a clock by hand.
import {expect, test} from '@jest/globals';
import {Events} from '../../../../src/core/meta/events.js';
import {ManualClock} from '../../../support/manual-clock.js';
import {RecordingLog} from '../../../support/recording-log.js';

function events(boot = 7) {
  const clock = new ManualClock();
  const lines = new RecordingLog();
  const list = new Events(clock);
  list.begin(boot);
  return {clock, lines, list, log: list.over(lines)};
}
const all = {boot: 0, after: 0, max: 0, waitMs: 0};

test('what changes seldom is kept with its fields; what can be repeated without end, and debug, is in the log alone', async () => {
  const {log, list, lines} = events();
  log.with({meta: 'm1'}).info('slot.lost', {group: 1, slot: 2, why: 'silent', from: undefined});
  log.warn('hello.refused', {peer: 'x'});
  log.debug('slot.lost', {});
  log.error('scrub.found', {server: 's', bad: 3});
  const {events: kept, boot, missed} = await list.read(all);
  expect([boot, missed]).toEqual([7, 0]);
  expect(kept.map(({number, level, event}) => [number, level, event])).toEqual([
    [1, 'info', 'slot.lost'],
    [2, 'error', 'scrub.found'],
  ]);
  expect(JSON.parse(kept[0]!.fields)).toEqual({meta: 'm1', group: 1, slot: 2, why: 'silent'});
  expect(lines.lines.map(({event}) => event)).toHaveLength(4);
});

test('no more than 2048 are kept, and who comes late hears how many he missed', async () => {
  const {log, list} = events();
  for (let i = 1; i <= 3000; i++) log.info('group.ready', {i});
  const first = await list.read(all);
  expect(first.missed).toBe(3000 - 2048);
  expect(first.events[0]!.number).toBe(3000 - 2048 + 1);
  let seen = 0;
  for (let after = 0, boot = 0; ; ) {
    const page = await list.read({...all, boot, after});
    if (page.events.length === 0) break;
    seen += page.events.length;
    [boot, after] = [page.boot, page.events.at(-1)!.number];
  }
  expect(seen).toBe(2048);
});

test('a number of another list means nothing: one begins anew', async () => {
  const {log, list} = events(8);
  log.info('meta.started', {});
  expect((await list.read({...all, boot: 7, after: 500})).events).toHaveLength(1);
  expect((await list.read({...all, boot: 8, after: 1})).events).toHaveLength(0);
});

test('who waits hears of the next one at once; or of nothing, when his time is over or the server stops', async () => {
  const {log, list, clock} = events();
  log.info('meta.started', {});
  const here = {boot: 7, after: 1, max: 10, waitMs: 1000};
  const waits = list.read(here);
  log.info('server.waits', {});
  expect((await waits).events.map(({event}) => event)).toEqual(['server.waits']);
  const over = list.read({...here, after: 2});
  await clock.advance(1000);
  expect((await over).events).toEqual([]);
  const stopped = list.read({...here, after: 2});
  list.close();
  expect((await stopped).events).toEqual([]);
});
