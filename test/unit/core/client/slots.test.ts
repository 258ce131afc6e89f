// Goal: nobody waits for ever for memory, and what waits gives back what it holds. Method: small pools, all of them in use.
import {expect, test} from '@jest/globals';
import {BufferPool, poolBytes} from '../../../../src/core/base/pool.js';
import {Slots} from '../../../../src/core/client/slots.js';
import {rig} from '../../../support/byte-rig.js';
import {ManualClock, settled} from '../../../support/manual-clock.js';

/** Takes all slots of the pool but `left`; gives them back when it is called. */
function exhaust(pool: BufferPool, left: number): () => void {
  const taken: number[] = [];
  for (let slot = pool.alloc(1); slot !== -1; slot = pool.alloc(1)) taken.push(slot);
  for (const slot of taken.splice(0, left)) pool.release(slot);
  return () => {
    for (const slot of taken) pool.release(slot);
  };
}

test('a slot is waited for, at most a minute; then EIO says what for', async () => {
  const shape = {small: 2, medium: 0, large: 0};
  const pool = new BufferPool(new ArrayBuffer(poolBytes(shape)), shape);
  const clock = new ManualClock();
  const slots = new Slots(pool, clock);
  const held = await slots.alloc(100);
  const other = await slots.alloc(100);

  const waits = slots.alloc(100);
  await clock.advance(59_000);
  pool.release(held);
  expect(await waits).toBe(held);
  expect(clock.timers).toBe(0);

  const never = slots.alloc(100).catch((error: unknown) => error);
  await clock.advance(61_000);
  expect(await never).toMatchObject({errno: 'EIO', detail: expect.stringContaining('100 bytes')});
  expect(clock.timers).toBe(0);
  // Who has given up takes nothing that becomes free later.
  pool.release(held);
  pool.release(other);
  await settled();
  expect(pool.used).toBe(0);
});

test('whoever asks for zeros as the client closes, or after it, gets none', async () => {
  const shape = {small: 0, medium: 0, large: 1};
  const pool = new BufferPool(new ArrayBuffer(poolBytes(shape)), shape);
  const slots = new Slots(pool, new ManualClock());
  const closed = {errno: 'EIO', detail: 'the client is closed'};
  const giveBack = exhaust(pool, 0);
  const waits = slots.zeros().catch((error: unknown) => error);
  slots.close();
  giveBack();
  expect(await waits).toMatchObject(closed);
  await expect(slots.zeros()).rejects.toMatchObject(closed);
  expect(pool.used).toBe(0);
});

test('a flush of scattered blocks never needs more slots than there are', async () => {
  const r = rig(4, 1, 5, 4096, {stripes: 256, columnWaitMs: 0});
  r.write(0, 4096 * 4 * 256);
  await r.flush();
  for (let stripe = 0; stripe < 256; stripe++) r.write(4096 * 4 * stripe + 5000, 100);
  await r.flush();
  // A reply for which there is no slot would have been reported as a column that does not answer.
  expect(r.columns.reported).toBe(0);
  r.audit();
  await r.check();
  r.end();
});

test('a flush that gets no slot fails with EIO, holds nothing, and may be tried again', async () => {
  const clock = new ManualClock();
  const r = rig(4, 1, 5, 16_384, {clock});
  r.write(0, 16_384 * 4 * 3);
  await r.flush();
  r.write(100, 100);
  r.write(16_384 * 4 + 100, 100);
  let failed = 0;
  for (let left = 0; left < 9; left++) {
    const giveBack = exhaust(r.pool, left);
    const used = r.pool.used;
    const flush = r.flush().catch((error: unknown) => error);
    await clock.advance(200_000);
    const error = await flush;
    if (error !== undefined) {
      expect(error).toMatchObject({errno: 'EIO'});
      failed++;
    }
    expect(r.pool.used).toBeLessThanOrEqual(used);
    giveBack();
  }
  expect(failed).toBeGreaterThan(3);
  await r.flush();
  r.audit();
  await r.check();
  r.end();
});

test('a read that gets no slot for its zeros fails with EIO and holds nothing', async () => {
  const clock = new ManualClock();
  const r = rig(4, 1, 5, 16_384, {clock});
  r.write(0, 16_384);
  r.write(16_384 * 4, 16_384);
  await r.flush();
  r.path.slots.close();
  r.path.slots = new Slots(r.pool, clock);
  const giveBack = exhaust(r.pool, 2);
  const used = r.pool.used;
  const read = r.read(0, 16_384 * 4).catch((error: unknown) => error);
  await clock.advance(61_000);
  expect(await read).toMatchObject({errno: 'EIO'});
  expect(r.pool.used).toBe(used);
  giveBack();
  await r.check();
  r.end();
});
