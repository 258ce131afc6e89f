import {expect, test} from '@jest/globals';
import {BufferPool, poolBytes} from '../../../../src/core/base/pool.js';
import {DirtyCache} from '../../../../src/core/client/dirty-cache.js';
import {LeaseHolder} from '../../../../src/core/client/lease-holder.js';
import type {Session} from '../../../../src/core/client/session.js';
import {Stats} from '../../../../src/core/client/stats.js';
import {LEASE} from '../../../../src/core/protocol/ops.js';
import {SimLand} from '../../../../src/core/sim/machine.js';
import {defer} from '../../../support/sim.js';

// Two clients that want one object for writing, each of which voids what it is granted because of a recall that came in
// between, must not go on like that for ever.

const OID = 7;
const POOL = {small: 4, medium: 1, large: 1};

interface Asked {
  name: string;
  answer(message: unknown): void;
}

function holderWith(asked: Asked[]): LeaseHolder {
  const session = {
    valid: true,
    generation: 0,
    map: {epoch: 1},
    call: (op: {name: string}) =>
      new Promise((resolve) => {
        asked.push({
          name: op.name,
          answer: (message) => resolve({message, payload: null, resent: false}),
        });
      }),
  } as unknown as Session;
  const host = new SimLand(1, defer).machine('a').boot();
  const env = {log: host.log, clock: {...host.clock, now: () => 0, soon: setImmediate}};
  const pool = new BufferPool(new ArrayBuffer(poolBytes(POOL)), POOL);
  const options = {
    flush: () => Promise.resolve(),
    cut: () => Promise.resolve(),
    doubt: () => Promise.resolve(),
    short: () => false,
    tooFewWaitMs: 0,
    told: () => {},
    dropped: () => {},
    returned: () => {},
    settle: () => Promise.resolve(),
    unsettled: () => false,
    unborn: () => false,
    unsent: () => false,
    removed: () => [],
    ended: () => {},
    cacheOwner: null,
  };
  return new LeaseHolder(env, session, new DirtyCache(pool, {bytesMax: 1e6}), options, new Stats());
}

async function settle(): Promise<void> {
  for (let turns = 0; turns < 3; turns++)
    await new Promise<void>((resolve) => setImmediate(resolve));
}

test('a grant that is void is given back before it is asked for again', async () => {
  const asked: Asked[] = [];
  const holder = holderWith(asked);
  const names = (): string[] => asked.map(({name}) => name);
  const attr = {oid: OID, size: 0, version: 1};
  const granted = {mode: LEASE.write, attr, layout: null, inlineBytes: 0, parts: []};
  const used = holder.use(OID, LEASE.write, () => Promise.resolve('used'));
  await settle();
  holder.recall(OID, LEASE.none);
  await settle();
  asked[1]!.answer({});
  await settle();
  asked[0]!.answer(granted);
  await settle();
  expect(names()).toEqual(['meta.lease', 'meta.yield', 'meta.yield']);
  // The other one was waiting, so it is recalled, too: what it gives back now, it must not have asked for yet.
  holder.recall(OID, LEASE.none);
  asked[2]!.answer({});
  await settle();
  expect(names()).toEqual(['meta.lease', 'meta.yield', 'meta.yield', 'meta.yield']);
  asked[3]!.answer({});
  await settle();
  expect(names().slice(4)).toEqual(['meta.lease']);
  asked[4]!.answer(granted);
  expect(await used).toBe('used');
});

test('parts are not void because size and times were told while they were asked for; those that were recalled go back in one message', async () => {
  const asked: Asked[] = [];
  const holder = holderWith(asked);
  const UNIT = 65_536;
  const part = (index: number) => ({from: index * UNIT, to: (index + 1) * UNIT});
  const attr = {oid: OID, size: 10 * UNIT, version: 1};
  const grant = (...parts: unknown[]) => ({
    mode: LEASE.none,
    attr,
    layout: null,
    inlineBytes: 0,
    parts,
  });
  const write = (index: number) =>
    holder.use(OID, LEASE.write, () => Promise.resolve(index), part(index));
  const first = write(0);
  await settle();
  asked[0]!.answer(grant(part(0)));
  expect(await first).toBe(0);
  const second = write(2);
  await settle();
  holder.outdate(OID);
  asked[1]!.answer(grant(part(2), part(4)));
  expect(await second).toBe(2);
  expect(await write(4)).toBe(4);
  const third = write(6);
  await settle();
  holder.recall(OID, LEASE.none, {from: 6 * UNIT, to: 9 * UNIT});
  await settle();
  expect(asked.map(({name}) => name)).toEqual([...Array(3).fill('meta.lease'), 'meta.yield']);
  asked[3]!.answer({});
  asked[2]!.answer(grant(part(6), part(8), part(10)));
  await settle();
  expect(asked.slice(4).map(({name}) => name)).toEqual(['meta.yield']);
  asked[4]!.answer({});
  await settle();
  asked[5]!.answer(grant(part(6)));
  expect(await third).toBe(6);
  expect(await write(10)).toBe(10);
  expect(asked.map(({name}) => name).slice(4)).toEqual(['meta.yield', 'meta.lease']);
});

test('a grant of a session that was lost before its promise was served is void', async () => {
  const asked: Asked[] = [];
  const holder = holderWith(asked);
  const attr = {oid: OID, size: 0, version: 1};
  const granted = {mode: LEASE.write, attr, layout: null, inlineBytes: 0, parts: []};
  const used = holder.use(OID, LEASE.write, () => Promise.resolve('used'));
  await settle();
  // Both come in one piece: the reply, and behind it that the session is fenced.
  asked[0]!.answer(granted);
  holder.lost();
  await settle();
  expect(holder.peek(OID)!.mode).toBe(LEASE.none);
  expect(holder.holdings().oids).toEqual([]);
  // Or it was asked for again under the next session, which holds it then.
  expect(asked.slice(1).map(({name}) => name)).toEqual(['meta.yield']);
  asked[1]!.answer({});
  await settle();
  expect(asked.slice(2).map(({name}) => name)).toEqual(['meta.lease']);
  asked[2]!.answer(granted);
  expect(await used).toBe('used');
});

/** A directory that this client holds for writing, as the meta server told it. */
const GRANT = {inlineBytes: 0, inline: null};
const DIRECTORY = {
  oid: OID,
  mode: 0o040755,
  nlink: 2,
  uid: 0,
  gid: 0,
  rdev: 0,
  size: 0,
  blocks: 0,
  atime: {sec: 1, nsec: 0},
  mtime: {sec: 1, nsec: 0},
  ctime: {sec: 1, nsec: 0},
  version: 1,
  xattrs: false,
};

test.each([
  ['before', 0],
  ['after', 1],
])(
  'a grant that was asked for while a yield was on its way is void, told %s the yield was answered',
  async (_, first) => {
    const asked: Asked[] = [];
    const holder = holderWith(asked);
    const {ticket: begun} = holder;
    const held = holder.granted(OID, LEASE.write, DIRECTORY, null, {...GRANT, ticket: begun});
    expect(held.mode).toBe(LEASE.write);
    holder.keepForReading(OID);
    // Others are listed together with it, say: it comes before the yield, which takes it back.
    const {ticket} = holder;
    await settle();
    expect(asked.map(({name}) => name)).toEqual(['meta.yield']);
    const answer = async (): Promise<void> => {
      asked[0]!.answer({});
      await settle();
    };
    if (first === 1) await answer();
    holder.granted(OID, LEASE.write, DIRECTORY, null, {...GRANT, ticket});
    expect(held.mode).toBe(LEASE.read);
    if (first === 0) await answer();
    await settle();
    // Over there it may be held for writing now, and is not any more.
    expect(asked.map(({name}) => name)).toEqual(['meta.yield', 'meta.yield']);
    asked[1]!.answer({});
    await settle();
    const next = {...GRANT, ticket: holder.ticket};
    expect(holder.granted(OID, LEASE.write, DIRECTORY, null, next).mode).toBe(LEASE.write);
  },
);
