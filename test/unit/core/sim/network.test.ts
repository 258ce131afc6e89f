import {describe, expect, test} from '@jest/globals';
import type {BufferPool, Segment} from '../../../../src/core/base/pool.js';
import {sleep} from '../../../../src/core/env/clock.js';
import type {Connection, Frame} from '../../../../src/core/env/net.js';
import {CALM_MACHINE, SimLand, type SimMachine} from '../../../../src/core/sim/machine.js';
import {CALM_NETWORK} from '../../../../src/core/sim/network.js';
import {defer, play} from '../../../support/sim.js';

interface Pair {
  land: SimLand;
  a: Connection;
  b: Connection;
  machines: [SimMachine, SimMachine];
  pools: [BufferPool, BufferPool];
  /** What each side has got: frames' ids, 'closed', 'drained'. */
  seen: [(number | string)[], (number | string)[]];
  frames: Frame[];
}

/** Two machines with one connection; a dials b. */
async function pair(
  seed: number,
  options: {shape?: object; smallPool?: boolean} = {},
): Promise<Pair> {
  const land = new SimLand(seed, defer, {...CALM_NETWORK, ...options.shape});
  const pool = options.smallPool ? {small: 2, medium: 0, large: 0} : CALM_MACHINE.pool;
  const machines: [SimMachine, SimMachine] = [
    land.machine('a'),
    land.machine('b', {...CALM_MACHINE, pool}),
  ];
  const first = machines[0].boot();
  const second = machines[1].boot();
  const seen: Pair['seen'] = [[], []];
  const frames: Frame[] = [];
  let b: Connection | null = null;
  const watch = (side: 0 | 1, connection: Connection): void =>
    connection.handle({
      frame: (frame) => {
        seen[side].push(frame.id);
        frames.push(frame);
      },
      closed: () => seen[side].push('closed'),
      drained: () => seen[side].push('drained'),
    });
  await second.net.listen('b:7000', (connection) => {
    b = connection;
    watch(1, connection);
  });
  const a = await play(land, () => first.net.connect('b:7000', 1000));
  watch(0, a);
  await play(land, () => sleep(first.clock, 10));
  return {land, a, b: b!, machines, pools: [first.pool, second.pool], seen, frames};
}

const pass = (p: Pair, ms: number): Promise<void> =>
  play(
    p.land,
    () => new Promise((resolve) => p.land.scheduler.schedule(null, ms, 'pass', resolve)),
  );

function segment(pool: BufferPool, fill: number, length: number): Segment {
  const slot = pool.alloc(length);
  const offset = pool.payload(slot);
  pool.view(offset, length).fill(fill);
  return {slot, offset, length};
}

const NOTHING = new Uint8Array(0);

describe('simulated network', () => {
  test("frames arrive in order, with their payload in the receiver's pool", async () => {
    const p = await pair(1);
    for (let id = 1; id <= 20; id++) {
      const payload = id % 2 ? [segment(p.pools[0], id, 100), segment(p.pools[0], 7, 50)] : null;
      p.a.send(5, 1, id, 0, Uint8Array.of(id), payload);
    }
    await pass(p, 50);
    expect(p.seen[1]).toEqual(Array.from({length: 20}, (_, i) => i + 1));
    expect(p.pools[0].used).toBe(0);
    expect(p.pools[1].used).toBe(10);
    for (const frame of p.frames) {
      expect([...frame.message]).toEqual([frame.id]);
      if (frame.payload === null) continue;
      const bytes = p.pools[1].view(frame.payload.offset, frame.payload.length);
      expect([bytes.length, bytes[0], bytes[149]]).toEqual([150, frame.id, 7]);
    }
  });

  test('a full pool, and a pause, hold the sender back; then it goes on and drained is called', async () => {
    const p = await pair(2, {smallPool: true, shape: {windowBytes: 30_000, queueLimit: 50_000}});
    for (let id = 1; id <= 12; id++)
      p.a.send(5, 0, id, 0, NOTHING, [segment(p.pools[0], id, 10_000)]);
    expect(p.a.queuedBytes).toBeGreaterThan(p.a.queueLimit);
    await pass(p, 100);
    expect(p.seen[1]).toEqual([1, 2]);
    expect(p.a.queuedBytes).toBeGreaterThan(p.a.queueLimit);
    for (let i = 0; i < 12; i++) {
      const held = p.frames.find((frame) => frame.payload !== null);
      if (held?.payload) p.pools[1].release(held.payload.slot);
      if (held) held.payload = null;
      if (i === 5) p.b.pause();
      if (i === 6) expect(p.seen[1].length).toBeLessThan(12);
      if (i === 6) p.b.resume();
      await pass(p, 10);
    }
    expect(p.seen[1]).toEqual(Array.from({length: 12}, (_, i) => i + 1));
    expect(p.seen[0]).toEqual(['drained']);
    expect([p.a.queuedBytes, p.pools[0].used, p.pools[1].used]).toEqual([0, 0, 0]);
  });

  test('close: both sides hear it once, what was queued arrives, later sends release their payload', async () => {
    const p = await pair(3);
    p.a.send(5, 0, 1, 0, NOTHING, [segment(p.pools[0], 1, 100)]);
    p.a.close('done');
    p.a.close('again');
    p.a.send(5, 0, 2, 0, NOTHING, [segment(p.pools[0], 1, 100)]);
    await pass(p, 50);
    expect(p.seen).toEqual([['closed'], [1, 'closed']]);
    expect(p.pools[0].used).toBe(0);
  });

  test('a killed process closes; one without power says nothing; a frozen one keeps everything', async () => {
    const killed = await pair(4);
    killed.machines[1].kill(false);
    await pass(killed, 10);
    expect(killed.seen[0]).toEqual(['closed']);

    const dark = await pair(5);
    dark.machines[1].kill(true);
    dark.a.send(5, 0, 1, 0, NOTHING, null);
    await pass(dark, 5000);
    expect(dark.seen[0]).toEqual([]);
    dark.machines[1].boot();
    await pass(dark, 500);
    expect(dark.seen[0]).toEqual(['closed']);

    const frozen = await pair(6);
    frozen.machines[1].freeze();
    frozen.a.send(5, 0, 1, 0, NOTHING, null);
    await pass(frozen, 5000);
    expect(frozen.seen).toEqual([[], []]);
    frozen.machines[1].thaw();
    await pass(frozen, 10);
    expect(frozen.seen).toEqual([[], [1]]);
  });

  test('a partition delays; a reset loses what is under way and closes both ends', async () => {
    const p = await pair(7);
    p.land.network.partition('a', 'b');
    p.a.send(5, 0, 1, 0, NOTHING, null);
    await pass(p, 1000);
    expect(p.seen[1]).toEqual([]);
    p.land.network.heal();
    await pass(p, 1000);
    expect(p.seen[1]).toEqual([1]);
    expect(p.land.network.resetOne()).toBe(true);
    await pass(p, 10);
    expect(p.seen).toEqual([['closed'], [1, 'closed']]);
  });

  test('connect: refused without a listener, Lost after the timeout without power', async () => {
    const p = await pair(8);
    const {net} = p.machines[0].boot();
    await play(p.land, async () => {
      await expect(net.connect('b:1', 1000)).rejects.toMatchObject({name: 'Lost'});
      await expect(net.listen('a:5', () => {})).resolves.toMatchObject({address: 'a:5'});
      await expect(net.listen('a:5', () => {})).rejects.toMatchObject({errno: 'EBUSY'});
      p.machines[1].kill(true);
      const from = p.land.scheduler.now;
      await expect(net.connect('b:7000', 1000)).rejects.toMatchObject({name: 'Lost'});
      expect(p.land.scheduler.now - from).toBeCloseTo(1000);
    });
  });
});
