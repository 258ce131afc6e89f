import {afterEach, beforeEach, expect, test} from '@jest/globals';
import {Life} from '../../../../src/core/data/life.js';
import {sync} from '../../../../src/core/data/ops/sync.js';
import {write} from '../../../../src/core/data/ops/write.js';
import {silentLog} from '../../../../src/core/env/log.js';
import {SeededRandom} from '../../../../src/core/sim/random.js';
import {DataBench, MAP_EPOCH} from '../../../support/data.js';

let bench: DataBench;
let machine: string;
const random = new SeededRandom(3);
beforeEach(async () => {
  bench = await DataBench.open();
  machine = 'first';
});
afterEach(() => bench.close());

function begin(): Promise<Life> {
  const {disk, clock} = bench;
  disk.machineLife = () => Promise.resolve(machine);
  return Life.begin({clock, disk, log: silentLog, random});
}

test('a life goes on when the process dies, and ends with its machine', async () => {
  const {number} = await begin();
  expect(number).toBeGreaterThan(0);
  expect((await begin()).number).toBe(number);
  machine = 'second';
  const second = await begin();
  expect(second.number).not.toBe(number);
  machine = 'third';
  expect((await begin()).number).not.toBe(second.number);
});

test('it goes on over a restart of the machine if all was synced before, but not over two', async () => {
  const first = await begin();
  await first.end();
  machine = 'second';
  expect((await begin()).number).toBe(first.number);
  machine = 'third';
  expect((await begin()).number).not.toBe(first.number);
});

test('a note that cannot be read proves nothing', async () => {
  const {number} = await begin();
  await bench.disk.writeFile('life.json', Buffer.from('{"life'));
  expect((await begin()).number).not.toBe(number);
});

test('it ends with a sync that failed, after which none says that it worked', async () => {
  const {number} = bench.context.life;
  const bytes = Buffer.alloc(4096, 1);
  const ranges = [{offset: 0, length: 4096}];
  const q = bench.writing(bench.ref(5), ranges, bytes);
  await write(q, bench.context, bench.payload(bytes));
  let failures = 1;
  bench.disk.before = (step) => {
    if (step === 'fsync' && failures-- > 0) throw new Error('EIO');
  };
  const chunks = [{oid: 5, chunk: 0, generation: 0}];
  const request = {epoch: MAP_EPOCH, chunks, all: false};
  const both = await Promise.allSettled([
    sync(request, bench.context),
    sync(request, bench.context),
  ]);
  expect(both[0]!.status).toBe('rejected');
  expect(bench.failures).toHaveLength(1);
  await expect(sync(request, bench.context)).rejects.toMatchObject({errno: 'EIO'});
  await expect(sync({...request, all: true}, bench.context)).rejects.toMatchObject({errno: 'EIO'});
  bench.disk.before = () => {};
  await bench.end();
  await bench.start();
  expect(bench.context.life.number).not.toBe(number);
  expect(bench.context.life.broken).toBe(false);
});

test('a write that is to be synced, and cannot be, says so; the next sync says why', async () => {
  const bytes = Buffer.alloc(4096, 1);
  const q = {...bench.writing(bench.ref(5), [{offset: 0, length: 4096}], bytes), sync: true};
  const {message} = await write(q, bench.context, bench.payload(bytes));
  expect(message.synced).toBe(true);
  expect(bench.context.intents.unsynced).toBe(0);
  bench.disk.before = (step) => {
    if (step === 'fsync') throw new Error('EIO');
  };
  const failed = await write(q, bench.context, bench.payload(bytes));
  expect(failed.message.synced).toBe(false);
  expect(bench.failures).toHaveLength(1);
  const chunks = [{oid: 5, chunk: 0, generation: 0}];
  const asked = sync({epoch: MAP_EPOCH, chunks, all: false}, bench.context);
  await expect(asked).rejects.toThrow('EIO');
});
