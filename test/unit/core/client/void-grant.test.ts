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
  const env = {log: host.log, clock: {...host.clock, soon: setImmediate}};
  const pool = new BufferPool(new ArrayBuffer(poolBytes(POOL)), POOL);
  const options = {
    flush: () => Promise.resolve(),
    doubt: () => Promise.resolve(),
    told: () => {},
    dropped: () => {},
    returned: () => {},
    settle: () => Promise.resolve(),
    unsettled: () => false,
    unborn: () => false,
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
  const granted = {mode: LEASE.write, attr, layout: null, inlineBytes: 0};
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
