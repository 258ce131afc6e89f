// A process that ends with batches in flight, after a worker thread of its own has been ended likewise. For
// test/native/disk.test.ts; argument: the file to write. Ends with 17.
import {openSync} from 'node:fs';
import {isMainThread, parentPort, Worker, workerData} from 'node:worker_threads';
import {DiskBatch} from '../../src/core/os/disk-batch.js';

const WRITE_BYTES = 1024 * 1024;

function begin(file: string): void {
  const fd = openSync(file, 'w+');
  const disk = new DiskBatch(new ArrayBuffer(WRITE_BYTES), {inFlightMax: 8});
  for (let i = 0; i < 40; i++) void disk.run(disk.ops().write(fd, 0, 0, WRITE_BYTES).dataSync(fd));
  const ring = new DiskBatch(new ArrayBuffer(WRITE_BYTES), {inFlightMax: 8, ring: true});
  for (let i = 0; i < 40; i++) void ring.run(ring.ops().write(fd, 0, 0, WRITE_BYTES), true);
}

if (isMainThread) {
  const file = process.argv[2]!;
  const worker = new Worker(new URL(import.meta.url), {workerData: `${file}-worker`});
  await new Promise((resolve) => worker.once('message', resolve));
  await worker.terminate();
  begin(file);
  process.exit(17);
} else {
  begin(workerData as string);
  parentPort?.postMessage('begun');
}
