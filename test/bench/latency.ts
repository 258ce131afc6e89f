// How long one read of a data server takes, one at a time, over loopback TCP, beside a bare exchange of as many bytes
// (64 there, the piece back). Run: node dist/test/bench/latency.js. The servers are a second process.
import {spawn} from 'node:child_process';
import {connect, createServer, type Socket} from 'node:net';
import {fileURLToPath} from 'node:url';
import {BufferPool, poolBytes} from '../../src/core/base/pool.js';
import {read} from '../../src/core/data/ops/read.js';
import {write} from '../../src/core/data/ops/write.js';
import {silentLog} from '../../src/core/env/log.js';
import {TcpNet} from '../../src/core/os/net-tcp.js';
import {OPS} from '../../src/core/protocol/ops.js';
import {Handlers} from '../../src/core/transport/handlers.js';
import {Peer} from '../../src/core/transport/peer.js';
import {DataBench, MAP_EPOCH} from '../support/data.js';
import {realClock} from '../support/real-clock.js';

const SIZES = [4096, 65_536];
const COLUMN_BYTES = 16 << 20;
const COUNT = 20_000;
const REQUEST_BYTES = 64;

/** A column of 16 MiB, in the page cache; and a socket that answers every request with `length` bytes. */
async function serve(): Promise<void> {
  const bench = await DataBench.open();
  const ref = bench.ref(1);
  for (let offset = 0; offset < COLUMN_BYTES; offset += 1 << 20) {
    const bytes = Buffer.alloc(1 << 20, 0xa5);
    const q = bench.writing(ref, [{offset, length: bytes.length}], bytes);
    await write(q, bench.context, bench.payload(bytes));
  }
  const handlers = new Handlers<null>()
    .on(OPS.read, (q) => read(q, bench.context))
    .on(OPS.heartbeat, () => {
      const {user, system} = process.cpuUsage();
      return {message: {epoch: user + system}};
    });
  const env = {clock: realClock, log: silentLog, pool: bench.pool};
  const listener = await new TcpNet(bench.pool).listen('127.0.0.1:0', (connection) => {
    new Peer(env, connection, {
      onClosed: () => void bench.close().then(() => process.exit(0)),
    }).serve(handlers, null);
  });
  const bare = createServer((socket) => {
    socket.setNoDelay(true).on('data', (asked: Buffer) => {
      socket.write(Buffer.allocUnsafe(asked.readUInt32LE(0)));
    });
  });
  bare.listen(0, '127.0.0.1', () => {
    console.log(`${listener.address} ${(bare.address() as {port: number}).port}`);
  });
}

async function measure(
  name: string,
  one: () => Promise<void>,
  serverCpu: () => Promise<number>,
): Promise<void> {
  for (let i = 0; i < COUNT / 4; i++) await one();
  const times = new Float64Array(COUNT);
  const serverBefore = await serverCpu();
  const before = process.cpuUsage();
  for (let i = 0; i < COUNT; i++) {
    const start = performance.now();
    await one();
    times[i] = (performance.now() - start) * 1000;
  }
  const {user, system} = process.cpuUsage(before);
  const server = (await serverCpu()) - serverBefore;
  times.sort();
  const [p50, p99] = [0.5, 0.99].map((p) => times[Math.floor(COUNT * p)]!.toFixed(1));
  const cpu = `CPU here ${((user + system) / COUNT).toFixed(1)} us, there ${(server / COUNT).toFixed(1)} us`;
  console.log(`${name.padEnd(24)} p50 ${p50} us, p99 ${p99} us, ${cpu}`);
}

/** Asks for `length` bytes, and waits until they have all come. */
function exchange(socket: Socket, length: number): Promise<void> {
  const request = Buffer.alloc(REQUEST_BYTES);
  request.writeUInt32LE(length, 0);
  return new Promise((resolve) => {
    let left = length;
    const take = (bytes: Buffer) => {
      left -= bytes.length;
      if (left > 0) return;
      socket.off('data', take);
      resolve();
    };
    socket.on('data', take);
    socket.write(request);
  });
}

async function main(): Promise<void> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), 'serve'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const line = await new Promise<string>((resolve) =>
    child.stdout.once('data', (bytes) => resolve(String(bytes).trim())),
  );
  const [address, port] = line.split(' ') as [string, string];
  const shape = {small: 64, medium: 8, large: 8};
  const pool = new BufferPool(new ArrayBuffer(poolBytes(shape)), shape);
  const env = {clock: realClock, log: silentLog, pool};
  const peer = new Peer(env, await new TcpNet(pool).connect(address, 1000));
  const serverCpu = async () => (await peer.call(OPS.heartbeat, {})).message.epoch;
  const socket = connect(Number(port), '127.0.0.1').setNoDelay(true);
  const column = {oid: 1, chunk: 0, generation: 0, column: 0, k: 4, m: 1, unitBytes: 65_536};
  const ref = {...column, epoch: MAP_EPOCH, repair: false};
  for (const length of SIZES) {
    await measure(`exchange of ${length}`, () => exchange(socket, length), serverCpu);
    let at = 0;
    const one = async () => {
      at = (at + 37 * length) % COLUMN_BYTES;
      const ranges = [{offset: at, length}];
      const {payload} = await peer.call(OPS.read, {ref, ranges, covered: false, verify: false});
      pool.release(payload!.slot);
    };
    await measure(`read of ${length}`, one, serverCpu);
  }
  socket.destroy();
  peer.close('done');
}

await (process.argv[2] === 'serve' ? serve() : main());
