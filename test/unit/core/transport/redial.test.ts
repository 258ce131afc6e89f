import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {Lost, Refusal} from '../../../../src/core/base/errors.js';
import {silentLog} from '../../../../src/core/env/log.js';
import type {Random} from '../../../../src/core/env/random.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {Handlers} from '../../../../src/core/transport/handlers.js';
import {Peer} from '../../../../src/core/transport/peer.js';
import {Redial, type RedialOptions} from '../../../../src/core/transport/redial.js';
import {makePool} from '../../../support/frames.js';
import {ManualClock, settled} from '../../../support/manual-clock.js';
import {MemoryNet} from '../../../support/memory-net.js';

const ADDRESS = 'server:1';
/** The longest pauses that can be drawn. */
const random: Random = {float: () => 1, below: (bound) => bound - 1, hex: () => '00'};

let clock: ManualClock;
let net: MemoryNet;
let events: string[];
let servers: Peer[];
let redial: Redial | null;
const pool = makePool();

beforeEach(() => {
  clock = new ManualClock();
  net = new MemoryNet(pool);
  events = [];
  servers = [];
  redial = null;
});

afterEach(async () => {
  redial?.close('end of the test');
  await settled();
  expect({slots: pool.used, timers: clock.timers}).toEqual({slots: 0, timers: 0});
});

const env = () => ({clock, net, pool, random, log: silentLog});

/** A server that answers hello as `answer` does. */
function listen(
  answer: () => {version: number} | Promise<{version: number}> = () => ({version: 1}),
  address = ADDRESS,
) {
  return net.listen(address, (connection) => {
    const peer = new Peer(env(), connection);
    peer.serve(
      new Handlers<null>().on(OPS.hello, async () => ({message: await answer()})),
      null,
    );
    servers.push(peer);
  });
}

function start(options: Partial<RedialOptions> = {}): Redial {
  redial = new Redial(env(), {
    address: ADDRESS,
    hello: async (peer) => void (await peer.hello({})),
    onUp: () => events.push('up'),
    onDown: (_peer, reason) => events.push(`down: ${reason}`),
    ...options,
  });
  return redial;
}

const errorOf = (promise: Promise<unknown>) =>
  promise.then(
    () => null,
    (error: unknown) => error,
  );

describe('redial', () => {
  test('is up after the hello; everyone who waited has the same peer', async () => {
    await listen();
    const dial = start();
    const peers = await Promise.all([dial.peer(1000), dial.peer(1000)]);
    expect(peers[0]).toBe(peers[1]);
    expect(dial.current).toBe(peers[0]);
    expect(await dial.peer(0)).toBe(peers[0]);
    expect(events).toEqual(['up']);
  });

  test('dials again with growing pauses: 50 ms doubling to 1 s, and from 50 ms after a success', async () => {
    const dial = start();
    const pauses: number[] = [];
    for (let at = 0; at < 7; at++) {
      await settled();
      const count = net.dialled.length;
      const begin = clock.now();
      while (net.dialled.length === count) await clock.advance(1);
      pauses.push(clock.now() - begin);
    }
    expect(pauses).toEqual([50, 100, 200, 400, 800, 1000, 1000]);
    expect(dial.failure).toBe('server:1: refused');
    await listen();
    await clock.advance(1000);
    expect(events).toEqual(['up']);
    servers[0]!.close('restart');
    await settled();
    expect(dial.current).toBeNull();
    await clock.advance(50);
    expect(events).toEqual(['up', 'down: closed by the peer', 'up']);
  });

  test('peer() gives up after its deadline and says why', async () => {
    const dial = start();
    const waiting = errorOf(dial.peer(300));
    await clock.advance(300);
    expect(await waiting).toEqual(new Lost('server:1: server:1: refused'));
  });

  test('a refused hello is dialled again, and peer() tells the refusal', async () => {
    let calls = 0;
    await listen(() => {
      calls++;
      throw new Refusal('WrongServer', 'slot 3');
    });
    const dial = start();
    const waiting = errorOf(dial.peer(500));
    await clock.advance(500);
    expect(await waiting).toEqual(new Refusal('WrongServer', 'slot 3'));
    expect(calls).toBeGreaterThan(2);
    expect(servers.every((server) => server.closed)).toBe(true);
    expect(events).toEqual([]);
  });

  test('a hello that never ends is cut off', async () => {
    await listen(() => new Promise(() => {}));
    start({hello: () => new Promise(() => {})});
    await clock.advance(9_999);
    expect(servers[0]!.closed).toBe(false);
    await clock.advance(1);
    expect(servers[0]!.closed).toBe(true);
  });

  test('a connection that is lost during the hello was never up', async () => {
    await listen();
    start({
      hello: async (peer) => {
        await peer.hello({});
        servers[0]!.close('crash');
      },
    });
    await settled();
    expect(events).toEqual([]);
    expect(redial!.current).toBeNull();
  });

  test('close: what is up goes down, who waits is told, nothing is dialled any more', async () => {
    await listen();
    const dial = start();
    await dial.peer(1000);
    dial.close('unmounted');
    dial.close('again');
    await clock.advance(5000);
    expect(events).toEqual(['up', 'down: unmounted']);
    expect(net.dialled).toHaveLength(1);
    expect(await errorOf(dial.peer(100))).toEqual(new Lost('server:1: unmounted'));
  });

  test('close while dialling, greeting or pausing', async () => {
    const dial = start();
    const waiting = errorOf(dial.peer(1000));
    dial.close('at once');
    expect(await waiting).toEqual(new Lost('server:1: at once'));
    await listen(() => new Promise(() => {}));
    for (const wait of [0, 1]) {
      const second = start({hello: () => new Promise(() => {})});
      if (wait > 0) await settled();
      second.close('early');
      await settled();
      expect(servers.every((server) => server.closed)).toBe(true);
      // Its hello hangs for ever, but nobody waits for it.
      await clock.advance(20_000);
      expect(clock.timers).toBe(0);
    }
    expect(events).toEqual([]);
  });

  test('who is not wanted asks seldom, and says so once', async () => {
    let asked = 0;
    await listen(() => {
      asked++;
      throw new Refusal('WrongServer', 'another one has its slot');
    });
    const said: string[] = [];
    const log = {...silentLog, info: (event: string) => said.push(event)};
    redial = new Redial(
      {...env(), log: {...log, with: () => log} as never},
      {address: ADDRESS, hello: async (peer) => void (await peer.hello({}))},
    );
    for (let i = 0; i < 600; i++) {
      await settled();
      clock.advance(100);
    }
    expect(asked).toBeGreaterThan(10);
    expect(asked).toBeLessThan(25);
    expect(said.filter((event) => event === 'peer.closed').length).toBeLessThanOrEqual(1);
  });

  describe('with several addresses, of which one is right at any time', () => {
    const stale = () => {
      throw new Refusal('NotActive', 'a:1');
    };

    test('who says wrongly that it is itself, or another one that is not, keeps nobody from the right one', async () => {
      await listen(stale, 'a:1');
      await listen(stale, 'b:1');
      await listen(undefined, 'c:1');
      const dial = start({address: 'a:1,b:1,c:1'});
      await clock.advance(100);
      expect(events).toEqual(['up']);
      expect(net.dialled).toEqual(['a:1', 'b:1', 'a:1', 'c:1']);
      expect(dial.current?.peer).toBe('c:1');
    });

    test('a hint is followed where it is not in the list', async () => {
      await listen(() => {
        throw new Refusal('NotActive', 'other:1');
      }, 'a:1');
      await listen(undefined, 'other:1');
      start({address: 'a:1'});
      await clock.advance(10);
      expect(net.dialled).toEqual(['a:1', 'other:1']);
      expect(events).toEqual(['up']);
    });

    test('one that is stopped is waited for 0.7 s; nobody who answers at all: longer each time', async () => {
      await listen(() => new Promise(() => {}), 'a:1');
      await listen(() => {
        throw new Refusal('NotActive', '');
      }, 'b:1');
      start({address: 'a:1,b:1'});
      const begin = clock.now();
      while (net.dialled.length < 9) await clock.advance(10);
      // Four rounds, with pauses of 50, 100, 200 and 250 ms.
      expect(clock.now() - begin).toBeLessThan(4 * 700 + 700);
      expect(net.dialled.filter((one) => one === 'b:1')).toHaveLength(4);
    });

    test('what the right one says is told, whatever the others said after it', async () => {
      await listen(() => {
        throw new Refusal('WrongServer', 'slot 3');
      }, 'a:1');
      await listen(() => {
        throw new Refusal('NotActive', 'a:1');
      }, 'b:1');
      const dial = start({address: 'a:1,b:1'});
      const waiting = errorOf(dial.peer(500));
      await clock.advance(500);
      expect(await waiting).toEqual(new Refusal('WrongServer', 'slot 3'));
    });

    test('none is the right one: as good as nobody', async () => {
      await listen(stale, 'a:1');
      await listen(stale, 'b:1');
      const dial = start({address: 'a:1,b:1'});
      const waiting = errorOf(dial.peer(500));
      await clock.advance(500);
      expect(await waiting).toBeInstanceOf(Lost);
    });
  });

  describe('by a name that stands for them', () => {
    let at: string[] | Error;
    let asked: number;
    const name = (): void => {
      asked = 0;
      net.names.set('srv:x', () => {
        asked++;
        return at instanceof Error ? Promise.reject(at) : Promise.resolve(at);
      });
    };
    beforeEach(name);
    const notActive = () => {
      throw new Refusal('NotActive', '');
    };

    test('all that it stands for are tried', async () => {
      at = ['a:1', 'b:1'];
      await listen(notActive, 'a:1');
      await listen(undefined, 'b:1');
      const dial = start({address: 'srv:x'});
      await clock.advance(10);
      expect(net.dialled).toEqual(['a:1', 'b:1']);
      expect([events, asked, dial.several]).toEqual([['up'], 1, true]);
    });

    test('it is looked up again when none of them is the right one, and not while one is', async () => {
      at = ['a:1', 'b:1'];
      await listen(undefined, 'a:1');
      start({address: 'srv:x'});
      await clock.advance(60_000);
      expect([events, asked]).toEqual([['up'], 1]);
      at = ['c:1'];
      await listen(undefined, 'c:1');
      await (await listen(notActive, 'b:1')).close();
      net.drop('a:1');
      servers[0]!.close('gone');
      await clock.advance(2_000);
      expect([events.at(-1), asked]).toEqual(['up', 2]);
      expect(redial!.current?.peer).toBe('c:1');
    });

    test('nobody asks all the time: every 2 s', async () => {
      at = ['a:1', 'b:1'];
      start({address: 'srv:x'});
      await clock.advance(20_000);
      expect(net.dialled.length).toBeGreaterThan(30);
      expect(asked).toBeGreaterThan(7);
      expect(asked).toBeLessThan(12);
    });

    test('nobody knows it: what is known is gone on with; else it is asked again with pauses', async () => {
      at = new Lost('no such name');
      const dial = start({address: 'srv:x'});
      const waiting = errorOf(dial.peer(300));
      await clock.advance(300);
      expect(await waiting).toEqual(new Lost('srv:x: no such name'));
      expect(net.dialled).toEqual([]);
      at = ['a:1'];
      await listen(undefined, 'a:1');
      await clock.advance(1000);
      expect(events).toEqual(['up']);
      at = new Lost('no such name');
      servers[0]!.close('restart');
      await clock.advance(5_000);
      expect(events).toEqual(['up', 'down: closed by the peer', 'up']);
    });

    test('who looks it up does not answer: not waited for longer than 3 s; close waits for nobody', async () => {
      at = ['a:1'];
      await listen(undefined, 'a:1');
      start({address: 'srv:x'});
      await clock.advance(10);
      net.names.set('srv:x', () => new Promise(() => {}));
      await clock.advance(60_000);
      servers[0]!.close('restart');
      await clock.advance(3_100);
      expect(events.at(-1)).toBe('up');
      redial!.close('end');
      start({address: 'srv:x'}).close('at once');
      await settled();
      expect(clock.timers).toBe(0);
    });
  });
});
