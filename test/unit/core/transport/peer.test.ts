import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {Bug} from '../../../../src/core/base/assert.js';
import {FsError, Lost, Refusal} from '../../../../src/core/base/errors.js';
import type {Segment} from '../../../../src/core/base/pool.js';
import type {Frame} from '../../../../src/core/env/net.js';
import {FLAG} from '../../../../src/core/protocol/frame.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {CALLS_MAX} from '../../../../src/core/transport/calls.js';
import {Handlers} from '../../../../src/core/transport/handlers.js';
import {Peer} from '../../../../src/core/transport/peer.js';
import {type Answer, OWN_ID_MIN} from '../../../../src/core/transport/peer-api.js';
import {makePool, pattern, segmentOf} from '../../../support/frames.js';
import {ManualClock, settled} from '../../../support/manual-clock.js';
import {type MemoryConnection, MemoryNet} from '../../../support/memory-net.js';
import {RecordingLog} from '../../../support/recording-log.js';

const pool = makePool({small: 32, medium: 2, large: 2});
const ref = {
  oid: 1,
  chunk: 0,
  generation: 0,
  column: 0,
  k: 4,
  m: 1,
  unitBytes: 65536,
  epoch: 1,
  repair: false,
};
const none = new Uint8Array(0);
let clock: ManualClock;
let log: RecordingLog;
let near: MemoryConnection;
let far: MemoryConnection;
let client: Peer;

beforeEach(() => {
  clock = new ManualClock();
  log = new RecordingLog();
  [near, far] = new MemoryNet(pool).pair();
  client = new Peer({clock, log, pool}, near);
});

afterEach(async () => {
  client.close('end of the test');
  await settled();
  expect({slots: pool.used, timers: clock.timers}).toEqual({slots: 0, timers: 0});
});

function serve(
  handlers: Handlers<string>,
  inFlightMax?: number,
  onBug?: (bug: unknown) => void,
): Peer {
  const peer = new Peer({clock, log, pool}, far, {inFlightMax, onBug});
  peer.serve(handlers, 'context');
  return peer;
}

/** The other end in the raw: what has arrived, and frames by hand. */
function raw(): Frame[] {
  const frames: Frame[] = [];
  far.handle({
    frame: (frame) => {
      frames.push(frame);
      if (frame.payload !== null) pool.release(frame.payload.slot);
    },
    closed: () => {},
    drained: () => {},
  });
  return frames;
}

const bytesOf = ({offset, length}: Segment) => Uint8Array.from(pool.view(offset, length));
const errorOf = (promise: Promise<unknown>) =>
  promise.then(
    () => null,
    (error: unknown) => error,
  );

describe('a call', () => {
  test('reaches its handler with context, id and payload, and the answer comes back', async () => {
    const seen: unknown[] = [];
    serve(
      new Handlers<string>()
        .on(OPS.write, (request, context, payload, id) => {
          seen.push(request.ref.oid, context, id, payload!.length);
          pool.release(payload!.slot);
          return {message: {}};
        })
        .on(OPS.read, async () => ({
          message: {hole: true},
          payload: [segmentOf(pool, pattern(9, 1))],
        })),
    );
    await client.call(OPS.write, {ref}, {payload: [segmentOf(pool, pattern(5000, 1))], id: 77});
    expect(seen).toEqual([1, 'context', 77, 5000]);
    const reply = await client.call(OPS.read, {ref});
    expect(reply.message.hole).toBe(true);
    expect(bytesOf(reply.payload!)).toEqual(pattern(9, 1));
    pool.release(reply.payload!.slot);
  });

  test('ids are the caller’s, or grow from OWN_ID_MIN: the two never meet', async () => {
    const frames = raw();
    void errorOf(client.call(OPS.getattr, {oid: 1}));
    void errorOf(client.call(OPS.getattr, {oid: 1}, {id: 1}));
    void errorOf(client.call(OPS.getattr, {oid: 1}));
    client.push(OPS.recall, {oid: 1});
    await settled();
    expect(frames.map((frame) => frame.id)).toEqual([OWN_ID_MIN + 1, 1, OWN_ID_MIN + 2, 0]);
  });

  test('replies find their call in any order; an errno and a refusal arrive as what they were', async () => {
    const answers: ((answer: Answer<object>) => void)[] = [];
    serve(
      new Handlers<string>()
        .on(OPS.statfs, () => new Promise((resolve) => answers.push(resolve)))
        .on(OPS.mkdir, () => {
          throw new FsError('ENOSPC', 'group 3');
        })
        .on(OPS.sync, async () => {
          throw new Refusal('StaleEpoch', 'mine is 9');
        }),
    );
    const calls = [1, 2, 3].map(() => client.call(OPS.statfs, {}));
    await settled();
    for (const at of [2, 0, 1]) answers[at]!({message: {files: at}});
    expect((await Promise.all(calls)).map((reply) => reply.message.files)).toEqual([0, 1, 2]);
    const mkdir = client.call(OPS.mkdir, {caller: {uid: 0, gid: 0}});
    expect(await errorOf(mkdir)).toEqual(new FsError('ENOSPC', 'group 3'));
    expect(await errorOf(client.call(OPS.sync, {epoch: 1}))).toEqual(
      new Refusal('StaleEpoch', 'mine is 9'),
    );
  });

  test('a failure that nobody foresaw is EIO and logged; a bug goes to the hook, too', async () => {
    const bugs: unknown[] = [];
    const failures = [new TypeError('x is undefined'), new Bug('impossible')];
    serve(
      new Handlers<string>().on(OPS.statfs, () => {
        throw failures.shift();
      }),
      undefined,
      (bug) => bugs.push(bug),
    );
    for (let at = 0; at < 2; at++)
      expect(await errorOf(client.call(OPS.statfs, {}))).toMatchObject({errno: 'EIO'});
    expect(log.of('handler.failed').map((fields) => fields.error)).toEqual([
      'x is undefined',
      'impossible',
    ]);
    expect(bugs).toEqual([new Bug('impossible')]);
  });

  test('a one-way request is carried out and not answered, whatever happens', async () => {
    let runs = 0;
    const server = serve(
      new Handlers<string>().on(OPS.recall, async () => {
        runs++;
        throw new FsError('EIO');
      }),
    );
    client.push(OPS.recall, {oid: 1});
    await settled();
    expect({runs, inFlight: server.inFlight, queued: far.queuedBytes}).toEqual({
      runs: 1,
      inFlight: 0,
      queued: 0,
    });
    expect(client.closed).toBe(false);
  });

  test('a message beyond the limit is E2BIG, and its payload is given back', async () => {
    const payload = [segmentOf(pool, pattern(10, 1))];
    const call = client.call(OPS.write, {ref, sums: new Uint8Array(300_000)}, {payload});
    expect(await errorOf(call)).toMatchObject({errno: 'E2BIG'});
    expect(pool.used).toBe(0);
  });

  test('a reply beyond the limit: EIO for the caller, who may have asked for it, and for nobody else; payload given back', async () => {
    const bugs: unknown[] = [];
    const value = new Uint8Array(300_000);
    serve(
      new Handlers<string>().on(OPS.getxattr, () => ({message: {value}})),
      undefined,
      (bug) => bugs.push(bug),
    );
    expect(await errorOf(client.call(OPS.getxattr, {oid: 1}))).toMatchObject({errno: 'EIO'});
    expect(bugs).toHaveLength(0);
  });
});

describe('deadlines', () => {
  test('each call has its own; one timer serves all; late replies are dropped with their payload', async () => {
    const frames = raw();
    const late = errorOf(client.call(OPS.read, {ref}, {deadlineMs: 100}));
    const usual = errorOf(client.call(OPS.read, {ref}));
    expect(clock.timers).toBe(1);
    await clock.advance(119);
    expect(await late).toEqual(new Lost('data.read to memory:1: no reply in 100 ms'));
    expect(client.outstanding).toBe(1);
    far.send(OPS.read.code, FLAG.reply, frames[0]!.id, 0, none, [segmentOf(pool, pattern(9, 1))]);
    await settled();
    expect({closed: client.closed, slots: pool.used}).toEqual({closed: false, slots: 0});
    await clock.advance(10_000);
    expect(await usual).toBeInstanceOf(Lost);
    expect({outstanding: client.outstanding, timers: clock.timers}).toEqual({
      outstanding: 0,
      timers: 0,
    });
  });

  test('calls that still wait for room are bound by it as well, and give their payload back', async () => {
    raw();
    far.paused = true;
    near.queuedBytes = near.queueLimit + 1;
    const payload = [segmentOf(pool, pattern(10, 1))];
    const call = errorOf(client.call(OPS.write, {ref}, {payload, deadlineMs: 50}));
    await clock.advance(60);
    expect(await call).toBeInstanceOf(Lost);
    expect(pool.used).toBe(0);
    near.queuedBytes = 0;
  });
});

describe('limits', () => {
  test('beyond CALLS_MAX calls wait for replies, in order; urgent ones do not', async () => {
    const frames = raw();
    const results: number[] = [];
    for (let at = 0; at < CALLS_MAX + 3; at++)
      client.call(OPS.statfs, {}).then(
        () => results.push(at),
        () => {},
      );
    await settled();
    expect(frames).toHaveLength(CALLS_MAX);
    void errorOf(client.call(OPS.heartbeat, {}, {urgent: true}));
    await settled();
    expect(frames[CALLS_MAX]!.type).toBe(OPS.heartbeat.code);
    for (const at of [5, 6]) far.send(OPS.statfs.code, FLAG.reply, frames[at]!.id, 0, none, null);
    await settled();
    // Two replies, but the urgent call took the room of one.
    expect(frames).toHaveLength(CALLS_MAX + 2);
    expect(results).toEqual([5, 6]);
  });

  test('above the queue limit calls wait until it has drained', async () => {
    const frames = raw();
    far.pause();
    const big = {name: new Uint8Array(200_000), oid: 1};
    const calls = Array.from({length: 8}, () => errorOf(client.call(OPS.setxattr, big)));
    await settled();
    expect(near.queuedBytes).toBeLessThan(near.queueLimit + 300_000);
    expect(frames).toEqual([]);
    far.resume();
    await settled();
    expect(frames).toHaveLength(8);
    client.close('enough');
    expect(await Promise.all(calls)).toEqual(Array(8).fill(expect.any(Lost)));
  });

  test('a server takes inFlightMax requests and pauses; it goes on as it answers', async () => {
    const answers: (() => void)[] = [];
    const server = serve(
      new Handlers<string>().on(
        OPS.statfs,
        () => new Promise((resolve) => answers.push(() => resolve({message: {}}))),
      ),
      3,
    );
    const calls = Array.from({length: 10}, () => client.call(OPS.statfs, {}));
    await settled();
    expect({begun: answers.length, inFlight: server.inFlight}).toEqual({begun: 3, inFlight: 3});
    for (let at = 0; at < 10; at++) {
      answers[at]!();
      await settled();
      expect(server.inFlight).toBe(Math.min(3, 9 - at));
    }
    await Promise.all(calls);
  });
});

describe('what closes a connection', () => {
  const hostile: [string, () => void, RegExp][] = [
    [
      'a request that is not allowed here',
      () => far.send(OPS.getattr.code, 0, 1, 0, none, null),
      /meta.getattr is not allowed/,
    ],
    [
      'a request that cannot be decoded',
      () => far.send(OPS.recall.code, 0, 1, 0, Uint8Array.of(8), null),
      /push.recall cannot be decoded/,
    ],
    [
      'a request that fails its check',
      () => far.send(OPS.mapPush.code, 0, 1, 0, none, null),
      /MapPush.map is missing/,
    ],
    [
      'payload where none belongs',
      () => far.send(OPS.recall.code, 0, 1, 0, none, [segmentOf(pool, pattern(3, 3))]),
      /payload in push.recall/,
    ],
    [
      'a reply of another type',
      () => far.send(OPS.sync.code, FLAG.reply, 1, 0, none, null),
      /to data.read/,
    ],
    [
      'a reply that cannot be decoded',
      () => far.send(OPS.read.code, FLAG.reply, 1, 0, Uint8Array.of(10, 9), null),
      /cannot be decoded/,
    ],
    [
      'a failure with payload',
      () => far.send(OPS.read.code, FLAG.reply, 1, 5, none, [segmentOf(pool, pattern(3, 3))]),
      /payload in the reply/,
    ],
  ];
  test.each(hostile)(
    '%s: with a logged reason, and calls are lost',
    async (_name, send, reason) => {
      raw();
      client.serve(
        new Handlers<null>()
          .on(OPS.recall, () => ({message: {}}))
          .on(OPS.mapPush, () => ({message: {epoch: 1}})),
        null,
      );
      const call = errorOf(client.call(OPS.read, {ref}, {id: 1}));
      await settled();
      send();
      expect(await call).toBeInstanceOf(Lost);
      expect(client.closed).toBe(true);
      expect(String(log.of('peer.refused')[0]!.reason)).toMatch(reason);
      expect(near.closed).toMatch(reason);
    },
  );

  test('before serve nothing is allowed, not even a known type', async () => {
    raw();
    far.send(OPS.hello.code, 0, 1, 0, none, null);
    await settled();
    expect(near.closed).toBe('hello is not allowed here');
  });

  test('serve replaces what is allowed: hello first, then the rest, and no second hello', async () => {
    const after = new Handlers<string>().on(OPS.statfs, () => ({message: {}}));
    const server = serve(
      new Handlers<string>().on(OPS.hello, () => {
        server.serve(after, 'known');
        return {message: {version: 1}};
      }),
    );
    expect((await client.hello({})).version).toBe(1);
    await client.call(OPS.statfs, {});
    expect(await errorOf(client.hello({}))).toBeInstanceOf(Lost);
    expect(log.of('peer.refused')).toEqual([
      {peer: 'memory:2', reason: 'hello is not allowed here'},
    ]);
  });

  test('the other end going: every call is lost, sent or waiting; onClosed once; later calls are lost at once', async () => {
    const closes: string[] = [];
    const [a, b] = new MemoryNet(pool).pair();
    const peer = new Peer({clock, log, pool}, a, {onClosed: (reason) => closes.push(reason)});
    b.paused = true;
    const payload = () => ({payload: [segmentOf(pool, pattern(10, 1))]});
    const sent = errorOf(peer.call(OPS.write, {ref}, payload()));
    a.queuedBytes += a.queueLimit;
    const waiting = errorOf(peer.call(OPS.write, {ref}, payload()));
    b.close('gone');
    peer.close('again');
    const later = errorOf(peer.call(OPS.write, {ref}, payload()));
    expect(await Promise.all([sent, waiting, later])).toEqual(Array(3).fill(expect.any(Lost)));
    expect(closes).toEqual(['closed by the peer']);
    peer.push(OPS.recall, {oid: 1});
  });

  test('an answer that comes after the close gives its payload back', async () => {
    let finish = (): void => {};
    serve(
      new Handlers<string>().on(
        OPS.read,
        () =>
          new Promise((resolve) => {
            finish = () => resolve({message: {}, payload: [segmentOf(pool, pattern(10, 1))]});
          }),
      ),
    );
    const call = errorOf(client.call(OPS.read, {ref}));
    await settled();
    client.close('enough');
    finish();
    expect(await call).toBeInstanceOf(Lost);
    await settled();
    expect(pool.used).toBe(0);
  });
});
