// Goal: a standby gets the whole log, in order, however slow it is and however busy the active meta server; and what waits for it in memory has a
// bound. Method: a ledger on a simulated host, which is written to all the time, and a toy standby that takes as long as it is told.
import {describe, expect, test} from '@jest/globals';
import type {Segment} from '../../../../src/core/base/pool.js';
import {KIB, MIB} from '../../../../src/core/base/units.js';
import {sleep} from '../../../../src/core/env/clock.js';
import type {Disk, Journal} from '../../../../src/core/env/disk.js';
import {Feed} from '../../../../src/core/meta/feed.js';
import {Ledger} from '../../../../src/core/meta/ledger.js';
import {recordAt} from '../../../../src/core/meta/log.js';
import type {AppendReply} from '../../../../src/core/protocol/gen/wire.js';
import {CALM_MACHINE, type SimEnv, SimLand} from '../../../../src/core/sim/machine.js';
import type {PeerLike, Reply} from '../../../../src/core/transport/peer-api.js';
import {defer, play} from '../../../support/sim.js';

const SEGMENT_BYTES = 2 * MIB;
const READ_MS = 2;

/** Has records up to `last`, and answers one message after the other, each `ms` after the one before. */
class ToyStandby {
  last = 0;
  ms = 0;
  readonly #env: SimEnv;
  #partly: Uint8Array = new Uint8Array(0);
  #work: Promise<unknown> = Promise.resolve();

  constructor(env: SimEnv) {
    this.#env = env;
  }

  get peer(): PeerLike {
    const call = (_op: unknown, _message: unknown, {payload = []}: {payload?: Segment[]}) => {
      const done = this.#work.then(async () => {
        if (this.ms > 0) await sleep(this.#env.clock, this.ms);
        for (const {slot, offset, length} of payload) {
          this.#take(this.#env.pool.view(offset, length));
          this.#env.pool.release(slot);
        }
        return {message: {sequence: this.last}, payload: null} as unknown as Reply<AppendReply>;
      });
      this.#work = done;
      return done;
    };
    return {peer: 'standby', closed: false, call, close: () => {}} as unknown as PeerLike;
  }

  #take(bytes: Uint8Array): void {
    const all = Buffer.concat([this.#partly, bytes]);
    let at = 0;
    for (let header = recordAt(all, 0); header !== null; header = recordAt(all, at)) {
      expect(header.sequence).toBe(this.last + 1);
      this.last = header.sequence;
      at = header.end;
    }
    this.#partly = all.subarray(at);
  }
}

/** As it is, but for one method. */
const but = <T extends object>(inner: T, method: keyof T, instead: unknown): T =>
  new Proxy(inner, {
    get: (_, name) => {
      const value: unknown = name === method ? instead : Reflect.get(inner, name, inner);
      return typeof value === 'function' ? value.bind(inner) : value;
    },
  });

/** Its journals are read as real ones are: what has been read is what there was a while ago. */
function slowly({disk, clock}: SimEnv): Disk {
  return but(disk, 'journal', async (path: string): Promise<Journal> => {
    const inner = await disk.journal(path);
    return but(inner, 'read', async () => {
      const bytes = await inner.read();
      await sleep(clock, READ_MS);
      return bytes;
    });
  });
}

interface Story {
  ledger: Ledger;
  standby: ToyStandby;
  feed: Feed;
  /** One batch of so many bytes. */
  log(bytes: number): void;
  pass(ms: number): Promise<void>;
  /** Of what waited in memory at any time. */
  most: number;
}

function run(story: (s: Story) => Promise<void>): Promise<void> {
  const land = new SimLand(1, defer);
  const pool = {small: 4, medium: 16, large: 0};
  const host = land.machine('meta', {...CALM_MACHINE, pool});
  return play(land, async () => {
    const env = host.boot();
    const ledger = await Ledger.open({...env, disk: slowly(env)}, {segmentBytes: SEGMENT_BYTES});
    const standby = new ToyStandby(env);
    const failures: string[] = [];
    const feed = new Feed(env, ledger, standby.peer, {
      kept: () => ledger.last,
      onAck: () => {},
      onFailed: (reason) => failures.push(reason),
    });
    const log = (bytes: number): void => {
      const batch = ledger.batch({sec: 0, nsec: 0});
      const payload = new Uint8Array(bytes);
      const nobody = {session: 0, requestId: 0, oid: 0, groups: []};
      batch.commands.push({...nobody, code: 1, request: new Uint8Array(0), payload});
      ledger.append(batch);
    };
    const pass = (ms: number): Promise<void> => sleep(env.clock, ms);
    const s: Story = {ledger, standby, feed, log, pass, most: 0};
    ledger.onRecord = (sequence, record) => {
      feed.logged(sequence, record);
      s.most = Math.max(s.most, feed.waitingBytes);
    };
    await story(s);
    expect(failures).toEqual([]);
    feed.end('done');
    await ledger.abandon();
  });
}

/** It has the first record, and asks for the others. */
async function follow({ledger, standby, feed, log}: Story): Promise<void> {
  log(1);
  const {sum} = ledger;
  for (let i = 0; i < 1000; i++) log(4 * KIB);
  standby.last = 1;
  const reply = await feed.follow({sequence: 1, sum, floor: 0});
  expect(reply).toEqual({snapshot: false, back: false, sequence: 1});
}

const whole = async ({standby, ledger, pass}: Story): Promise<void> => {
  for (let waited = 0; standby.last < ledger.last && waited < 10_000; waited += 10) await pass(10);
  expect(standby.last).toBe(ledger.last);
};

describe('what a standby is given', () => {
  test('it comes to the end of a log that grows all the time, and gets records as they are made', () =>
    run(async (s) => {
      await follow(s);
      let more = 0;
      for (; !s.feed.live && more < 5000; more++) {
        s.log(100);
        await s.pass(0.02);
      }
      expect(more).toBeLessThan(1000);
      const {last} = s.ledger;
      s.log(100);
      await s.pass(5);
      expect(s.standby.last).toBe(last + 1);
    }));

  test('what waits in memory for a slow one is bounded; it gets the rest from files, and all of it', () =>
    run(async (s) => {
      await follow(s);
      await whole(s);
      s.standby.ms = 5;
      let fell = 0;
      for (let i = 0; i < 500; i++) {
        const before = s.feed.live;
        s.log(64 * KIB);
        if (before && !s.feed.live) fell++;
        await s.pass(0.2);
      }
      expect(fell).toBeGreaterThan(0);
      expect(s.ledger.last - s.standby.last).toBeGreaterThan(200);
      expect(s.most).toBeGreaterThan(6 * MIB);
      expect(s.most).toBeLessThan(8 * MIB + 256 * KIB);
      await whole(s);
      expect(s.feed.live).toBe(true);
      s.standby.ms = 0;
      s.log(100);
      await s.pass(5);
      expect(s.standby.last).toBe(s.ledger.last);
    }));
});
