// CPU of a data server's operations, without network, over a folder. Run: node dist/test/bench/data.js [folder]
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {read} from '../../src/core/data/ops/read.js';
import {write} from '../../src/core/data/ops/write.js';
import type {ReadReply} from '../../src/core/protocol/gen/wire.js';
import type {Answer} from '../../src/core/transport/peer-api.js';
import {DataBench} from '../support/data.js';

const COLUMN_BYTES = 16 << 20;

async function measure(name: string, count: number, one: (i: number) => Promise<void>) {
  for (let i = 0; i < 200; i++) await one(i);
  const before = process.cpuUsage();
  const start = performance.now();
  for (let i = 0; i < count; i += 8)
    await Promise.all(Array.from({length: 8}, (_, j) => one(i + j)));
  const {user, system} = process.cpuUsage(before);
  const wall = ((performance.now() - start) * 1000) / count;
  const line = `${name}: ${((user + system) / count).toFixed(1)} us of CPU, ${wall.toFixed(1)} us`;
  process.stdout.write(`${line} (user ${(user / count).toFixed(1)})\n`);
}

const folder = mkdtempSync(join(process.argv[2] ?? tmpdir(), 'cpfs-bench-data-'));
const bench = await DataBench.open();
for (const [column, kind] of [
  [0, 'data'],
  [4, 'redundancy'],
] as const) {
  for (const length of [4096, 65_536, 262_144]) {
    const bytes = Buffer.alloc(length, 0xa5);
    const ref = (i: number) => bench.ref(100 + 10 * column + (i % 8), 1, column);
    const offset = (i: number) => ((i >> 3) * length) % COLUMN_BYTES;
    const q = bench.writing(ref(0), [{offset: 0, length}], bytes);
    const count = length === 4096 ? 20_000 : 2000;
    await measure(`write ${length} (${kind})`, count, async (i) => {
      const ranges = [{offset: offset(i), length}];
      await write({...q, ref: ref(i), ranges}, bench.context, bench.payload(bytes));
    });
    await measure(`read ${length} (${kind})`, count, async (i) => {
      const ranges = [{offset: offset(i), length}];
      const asked = {ref: ref(i), ranges, covered: column > 0, verify: false, copy: 0};
      const {payload}: Answer<ReadReply> = await read(asked, bench.context);
      for (const {slot} of payload ?? []) bench.pool.release(slot);
    });
  }
}
await bench.close();
rmSync(folder, {recursive: true});
