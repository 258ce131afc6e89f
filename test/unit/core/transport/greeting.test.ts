// Goal: releases that differ work together: nobody is sent what it does not know, and what is sent all the same is refused without an end of the connection (docs/upgrade.md). Method: two peers over memory, one of an older or of a later release.
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {FsError, Refusal} from '../../../../src/core/base/errors.js';
import {FIRST_RELEASE, type Release, THIS_RELEASE} from '../../../../src/core/base/features.js';
import {BufferPool, poolBytes} from '../../../../src/core/base/pool.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {Handlers} from '../../../../src/core/transport/handlers.js';
import {Peer} from '../../../../src/core/transport/peer.js';
import {ManualClock} from '../../../support/manual-clock.js';
import {MemoryNet} from '../../../support/memory-net.js';
import {RecordingLog} from '../../../support/recording-log.js';

const shape = {small: 8, medium: 2, large: 1};
const pool = new BufferPool(new ArrayBuffer(poolBytes(shape)), shape);
let log: RecordingLog;
let client: Peer;
let server: Peer;
let served: string[];

function meet(own: Release, theirs: Release): void {
  const clock = new ManualClock();
  const [near, far] = new MemoryNet(pool).pair();
  client = new Peer({clock, log, pool, release: own}, near);
  server = new Peer({clock, log, pool, release: theirs}, far);
  served = [];
  const after = new Handlers<null>()
    .on(OPS.info, () => {
      served.push('info');
      return {message: {}};
    })
    .on(OPS.statfs, () => {
      served.push('statfs');
      return {message: {}};
    });
  const hello = new Handlers<null>().on(OPS.hello, () => {
    server.serve(after, null);
    return {message: {}};
  });
  server.serve(hello, null);
}

const errorOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => null,
    (error: unknown) => error,
  );

beforeEach(() => {
  log = new RecordingLog();
  meet(THIS_RELEASE, THIS_RELEASE);
});
afterEach(() => {
  client.close('end of the test');
  expect(pool.used).toBe(0);
});

describe('features', () => {
  test('each learns what the other one is, with the hello', async () => {
    meet({...THIS_RELEASE, name: '7.1.0'}, {name: '7.0.0', features: ['standbys']});
    await client.hello({});
    expect(client.release).toEqual({name: '7.0.0', features: ['standbys']});
    expect(server.release).toEqual({...THIS_RELEASE, name: '7.1.0'});
    expect([client.knows(OPS.follow), client.knows(OPS.info)]).toEqual([true, false]);
    expect([server.knows(OPS.follow), server.knows(OPS.info)]).toEqual([true, false]);
  });

  test('what both have is carried out', async () => {
    await client.hello({});
    await client.call(OPS.info, {});
    expect(served).toEqual(['info']);
  });

  test('an older release is not sent what it does not know; the rest works, over the same connection', async () => {
    meet(THIS_RELEASE, {...FIRST_RELEASE, name: '0.1.0'});
    await client.hello({});
    const error = (await errorOf(client.call(OPS.info, {}))) as FsError;
    expect(error).toBeInstanceOf(FsError);
    expect([error.errno, error.detail]).toEqual([
      'EOPNOTSUPP',
      'data.info: the other side is of release 0.1.0: upgrade it first',
    ]);
    client.push(OPS.info, {});
    await client.call(OPS.statfs, {});
    expect(served).toEqual(['statfs']);
    expect(log.of('request.unknown')).toEqual([]);
  });

  test('nor does an older release send it', async () => {
    meet(FIRST_RELEASE, THIS_RELEASE);
    await client.hello({});
    expect(await errorOf(client.call(OPS.info, {}))).toMatchObject({errno: 'EOPNOTSUPP'});
  });

  test('who was sent it all the same says so, and keeps the connection and no payload', async () => {
    const clock = new ManualClock();
    const [near, far] = new MemoryNet(pool).pair();
    const peer = new Peer({clock, log, pool, release: FIRST_RELEASE}, far);
    const hello = new Handlers<null>().on(OPS.hello, () => ({message: {}}));
    peer.serve(hello, null);
    const replies: [number, number][] = [];
    near.handle({
      frame: ({id, status}) => replies.push([id, status]),
      closed: () => replies.push([-1, -1]),
      drained: () => {},
    });
    const q = OPS.hello.request.encode({versionMin: 1, versionMax: 1});
    near.send(OPS.hello.code, 0, 1, 0, q, null);
    const slot = pool.alloc(100);
    const segment = {slot, offset: pool.payload(slot), length: 100};
    near.send(OPS.snapshot.code, 0, 2, 0, new Uint8Array(0), [segment]);
    near.send(OPS.info.code, 0, 0, 0, new Uint8Array(0), null);
    near.send(0x7fff, 0, 3, 0, new Uint8Array(0), null);
    await new Promise((resolve) => setImmediate(resolve));
    expect(replies).toEqual([
      [1, 0],
      [2, 95],
      [3, 95],
    ]);
    peer.close('end');
  });

  test('before the hello what is not known ends the connection', async () => {
    const [near, far] = new MemoryNet(pool).pair();
    const peer = new Peer({clock: new ManualClock(), log, pool}, far);
    near.handle({frame: () => {}, closed: () => {}, drained: () => {}});
    near.send(0x7fff, 0, 3, 0, new Uint8Array(0), null);
    await new Promise((resolve) => setImmediate(resolve));
    expect(peer.closed).toBe(true);
  });
});

describe('versions of the protocol', () => {
  test('the newest that both speak is spoken', async () => {
    expect((await client.hello({versionMin: 1, versionMax: 9})).version).toBe(1);
  });

  test.each([
    [2, 9],
    [0, 0],
  ])('with %d to %d there is none: both are told', async (versionMin, versionMax) => {
    const error = (await errorOf(client.hello({versionMin, versionMax}))) as Refusal;
    expect(error).toBeInstanceOf(Refusal);
    expect(error.kind).toBe('WrongVersion');
    expect(error.detail).toMatch(
      /^this side speaks protocol 1 to 1, the other one .* \d to \d: upgrade the older one$/,
    );
    expect(server.closed).toBe(true);
  });
});
