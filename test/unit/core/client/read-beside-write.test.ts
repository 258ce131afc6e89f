// Goal: a read beside writes of the same client shows each of them as a whole or not at all, and ends however many there are.
// Method: a simulated cluster in which the answer of one column is kept back until a write has reached all columns.
import {expect, test} from '@jest/globals';
import {sleep} from '../../../../src/core/env/clock.js';
import {columnSlot} from '../../../../src/core/layout/stripe.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {ClientCluster, type TestClient} from '../../../support/client-cluster.js';

const UNIT = 32_768;
const BYTES = 2 * UNIT;
const filled = (value: number): Buffer => Buffer.alloc(BYTES, value);

/** A file of two units, which lie in two columns. */
async function file(a: TestClient): Promise<number> {
  await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: UNIT});
  const oid = await a.create('f');
  await a.write(oid, 0, filled(1));
  await a.client.fsync(oid);
  return oid;
}

/** Reads of the second column leave after `before`. */
function keepBack(a: TestClient, oid: number, before: () => Promise<unknown>): void {
  const {columns} = a.client.parts.path;
  const call = columns.call.bind(columns);
  const slow = columnSlot(oid, 0, 1, 5);
  columns.call = async (group, slot, op, request, options) => {
    if (slot === slow && op.name === OPS.read.name) await before();
    return call(group, slot, op, request, options);
  };
}

async function overwrite(a: TestClient, oid: number, value: number): Promise<void> {
  await a.write(oid, 0, filled(value));
  await a.client.fsync(oid);
}

test('a write that reaches the columns between two answers is read whole', () =>
  ClientCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await file(a);
    let writes = 0;
    keepBack(a, oid, async () => {
      if (writes++ === 0) await overwrite(a, oid, 2);
    });
    expect(await a.read(oid, 0, BYTES)).toEqual(filled(2));
    expect(writes).toBe(2);
    await a.close();
  }));

test('a read that writes come into again and again keeps them from columns until it has ended', () =>
  ClientCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await file(a);
    // So much at once is never read from what was written a moment ago.
    await a.write(oid, BYTES, Buffer.from('end'));
    let value = 1;
    let last = Promise.resolve();
    keepBack(a, oid, async () => {
      last = overwrite(a, oid, ++value);
      await Promise.race([last, sleep(cluster.meta.clock, 100)]);
    });
    const found = await a.read(oid, 0, BYTES + 3);
    expect(found).toEqual(Buffer.concat([filled(found[0]!), Buffer.from('end')]));
    expect(value).toBeLessThan(10);
    await last;
    await a.close();
  }));

test('what is dirty, or lies elsewhere in the object, makes no read begin again', () =>
  ClientCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await file(a);
    await a.write(oid, BYTES, filled(2));
    let reads = 0;
    keepBack(a, oid, async () => {
      reads++;
      await a.write(oid, 2 * BYTES, filled(3));
      await a.client.fsync(oid);
    });
    expect(await a.read(oid, 0, 2 * BYTES)).toEqual(Buffer.concat([filled(1), filled(2)]));
    expect(reads).toBe(1);
    await a.close();
  }));

test('a write that makes a file longer while its first bytes are asked for is read with all of its length', () =>
  ClientCluster.run(async (cluster) => {
    const a = await cluster.client('a', {inlineBytesMax: 16_384});
    const oid = await a.create('small');
    await a.write(oid, 0, filled(1).subarray(0, 100));
    await a.client.fsync(oid);
    a.client.parts.holder.get(oid).forgetInline();
    const read = a.read(oid, 0, 200);
    await a.write(oid, 0, filled(2).subarray(0, 200));
    expect(await read).toEqual(filled(2).subarray(0, 200));
    await a.close();
  }));
