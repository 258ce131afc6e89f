import {expect, test} from '@jest/globals';
import {FsError, Lost} from '../../../../src/core/base/errors.js';
import {BufferPool, poolBytes} from '../../../../src/core/base/pool.js';
import type {BytePath, Columns} from '../../../../src/core/client/columns.js';
import {Copies} from '../../../../src/core/client/copies.js';
import {JointReads} from '../../../../src/core/client/joint-reads.js';
import {Torn} from '../../../../src/core/client/reconstruct.js';
import {Slots} from '../../../../src/core/client/slots.js';
import {Stats} from '../../../../src/core/client/stats.js';
import {fetchColumns} from '../../../../src/core/client/stripe-reader.js';
import {SLOT} from '../../../../src/core/cluster/map.js';
import {silentLog} from '../../../../src/core/env/log.js';
import {columnSlot} from '../../../../src/core/layout/stripe.js';
import {PlainCodec} from '../../../../src/core/sim/codec.js';
import {SeededRandom} from '../../../../src/core/sim/random.js';
import {FakeColumns} from '../../../support/fake-columns.js';
import {realClock} from '../../../support/real-clock.js';

const OID = 77;

/** What a repair is told that reads column 0 while the last column is recovering and `silent` does not answer. */
async function told(k: number, m: number, silent: boolean): Promise<unknown> {
  const shape = {small: 16, medium: 4, large: 4};
  const pool = new BufferPool(new ArrayBuffer(poolBytes(shape)), shape);
  const codec = new PlainCodec();
  const fake = new FakeColumns(pool, codec, k + m);
  const slotOf = (column: number): number => columnSlot(OID, 0, column, k + m);
  for (let column = silent ? k : 0; column < k + m; column++)
    fake.set(slotOf(column), SLOT.recovering);
  const columns: Columns = {
    get map() {
      return fake.map;
    },
    lives: fake.lives,
    call: (group, slot, op, request, options) =>
      slot === slotOf(0)
        ? Promise.reject(new Lost('connection reset'))
        : fake.call(group, slot, op, request, options),
    report: () => {},
    newer: () => Promise.resolve(),
  };
  const path: BytePath = {
    clock: realClock,
    random: new SeededRandom(7),
    codec,
    log: silentLog,
    pool,
    slots: new Slots(pool, realClock),
    columns,
    stats: new Stats(),
    repair: false,
    columnWaitMs: 0,
    joint: new JointReads(),
    copies: new Copies(realClock, new SeededRandom(7)),
    tooFewWaitMs: 0,
  };
  const layout = {k, m, unitBytes: 4096, chunkBytes: k * 4096 * 4, groups: [1], generation: 0};
  const target = {oid: OID, layout, heal: null};
  try {
    return await fetchColumns(path, target, 0, [{column: 0, offset: 0, length: 4096}]);
  } catch (error) {
    return error;
  }
}

test.each([
  [2, 1],
  [1, 1],
])('%d+%d: a column that did not answer may have what is wanted', async (k, m) => {
  const error = await told(k, m, true);
  expect(error).toBeInstanceOf(FsError);
  expect(error).not.toBeInstanceOf(Torn);
});

test.each([
  [2, 1],
  [1, 1],
])('%d+%d: nobody may have it when all are there and lack it', async (k, m) => {
  expect(await told(k, m, false)).toBeInstanceOf(Torn);
});
