// Goal: what goes on in a second, and how far recoveries are, follow from what a meta server says of itself. Method: looks by hand.
import {describe, expect, test} from '@jest/globals';
import {Model} from '../../../src/roles/console/model.js';
import {Meters} from '../../../src/roles/console/rates.js';
import {keysOf} from '../../../src/roles/console/screen.js';
import {
  short,
  shortBytes,
  sparkline,
  UNICODE,
  widthOf,
  wrapped,
} from '../../../src/roles/console/text.js';
import {counts, setSlot, statusModel} from '../../support/status-model.js';

const READ = 1 << 20;

function told(reads: readonly [string, number][]) {
  const status = statusModel();
  status.counters = reads.map(([server, count]) => ({
    server,
    session: null,
    ...counts({reads: count, readBytes: count * READ}),
  }));
  return status;
}

describe('rates', () => {
  test('nothing is known after one look; then what was added in a second, over three looks', () => {
    const meters = new Meters(1000);
    expect(meters.take(told([['a', 100]]), 0)).toBeNull();
    expect(meters.serverRate('a')).toBeNull();
    expect(meters.take(told([['a', 110]]), 1000)?.servers.reads).toBe(10);
    // Its heartbeat came late, and then two at once.
    expect(meters.take(told([['a', 110]]), 2000)?.servers.reads).toBe(5);
    expect(meters.take(told([['a', 130]]), 3000)?.servers.reads).toBe(10);
    expect(meters.take(told([['a', 140]]), 4000)?.servers.reads).toBe(10);
    expect(meters.serverRate('a')).toMatchObject({reads: 10, readBytes: 10 * READ});
    expect(meters.history.read).toEqual([10, 5, 10, 10].map((n) => n * READ));
  });

  test('a process that has begun anew counts from zero: nothing below zero, no jump', () => {
    const meters = new Meters(1000);
    meters.take(told([['a', 1e9]]), 0);
    meters.take(told([['a', 1e9 + 10]]), 1000);
    expect(meters.take(told([['a', 3]]), 2000)?.servers.reads).toBe(0);
    expect(meters.take(told([['a', 8]]), 3000)?.servers.reads).toBe(5);
  });

  test('one that comes later does not count what it did before; one that goes is forgotten', () => {
    const meters = new Meters(1000);
    meters.take(told([['a', 0]]), 0);
    expect(
      meters.take(
        told([
          ['a', 10],
          ['b', 5000],
        ]),
        1000,
      )?.servers.reads,
    ).toBe(10);
    expect(meters.serverRate('b')).toBeNull();
    meters.take(told([['b', 5001]]), 2000);
    expect(meters.serverRate('a')).toBeNull();
    expect(
      meters.take(
        told([
          ['a', 9000],
          ['b', 5002],
        ]),
        3000,
      )?.servers.reads,
    ).toBe(1);
  });

  test('what is kept is bounded', () => {
    const meters = new Meters(1000);
    for (let n = 0; n < 500; n++) meters.take(told([['a', n]]), n * 1000);
    const {everyMs: _, ...lines} = meters.history;
    for (const line of Object.values(lines)) expect(line).toHaveLength(120);
  });
});

describe('model', () => {
  const look = (status: ReturnType<typeof statusModel>, count = 0) => ({
    status,
    metas: null,
    leases: {leases: [], total: 0},
    locks: {locks: [], total: 0},
    events: Array.from({length: count}, (_, i) => ({
      ...{number: i + 1, at: status.at, level: 'info', event: 'slot.away'},
      fields: {group: 1, slot: 2},
    })),
  });

  test('a recovery is as far as the most that was seen to be missing lets one say', () => {
    const model = new Model(1000);
    const status = statusModel();
    setSlot(status, 1, 1, {state: 'recovering'});
    const at = (left: number) => {
      status.servers[1]!.left = left;
      const {groups, servers} = model.take(look(status), 0);
      expect(groups[0]!.slots[1]!.progress).toBe(servers[1]!.progress);
      return servers[1]!.progress;
    };
    expect([1, 100, 75, 150, 30].map(at)).toEqual([null, 0, 0.25, 0, 0.8]);
    setSlot(status, 1, 1, {state: 'ready'});
    expect(at(0)).toBeNull();
    setSlot(status, 1, 1, {state: 'recovering'});
    expect(at(40)).toBe(0);
  });

  test('each server has what is wrong with it, and whether it may be stopped', () => {
    const status = statusModel(2);
    setSlot(status, 1, 1, {state: 'away', awaySeconds: 9});
    const {servers} = new Model(1000).take(look(status), 0);
    expect(servers[1]).toMatchObject({state: 'away', codes: ['CPFS-1001'], okToStop: {ok: true}});
    expect(servers[0]).toMatchObject({state: 'ready', codes: [], okToStop: {ok: false}});
    expect(servers[5]).toMatchObject({okToStop: {ok: true}});
  });

  test('of events the newest 200 stay; the whole can be written as JSON', () => {
    const model = new Model(1000);
    model.take(look(statusModel(), 150), 0);
    const view = model.take(look(statusModel(), 150), 1000);
    expect(view.events).toHaveLength(200);
    expect(view.events.at(-1)).toMatchObject({number: 150, group: 1, slot: 2, session: null});
    expect(JSON.parse(JSON.stringify(view))).toEqual(view);
  });
});

test('text: figures, lines and widths', () => {
  expect([0, 7.94, 99.96, 999, 1000, 12_345, 2.5e9].map((n) => short(n))).toEqual([
    '0',
    '7.9',
    '100',
    '999',
    '1k',
    '12k',
    '2.5G',
  ]);
  expect([1023, 1024, 1.5 * READ].map(shortBytes)).toEqual(['1023', '1K', '1.5M']);
  expect(sparkline([0, 1, 8], 5, UNICODE)).toBe('   ▁█');
  expect(['abc', '漢字', 'e\u0301'].map(widthOf)).toEqual([3, 4, 1]);
  expect(wrapped('one two three', 8)).toEqual(['one two', 'three']);
});

test('keys that come in one piece are as many keys', () => {
  const none = {ctrl: false, meta: false, tab: false} as Parameters<typeof keysOf>[1];
  expect(keysOf('/a\r', none)).toEqual(['/', 'a', 'enter']);
  expect(keysOf('c', {...none, ctrl: true})).toEqual([]);
  expect(keysOf('', {...none, tab: true, shift: true})).toEqual(['backtab']);
});
