// Cost of calls over loopback TCP. Run: node dist/test/bench/transport.js. The server is a second process, so that
// CPU can be told apart; it prints its own at the end.
import {spawn} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {BufferPool, poolBytes} from '../../src/core/base/pool.js';
import {silentLog} from '../../src/core/env/log.js';
import {TcpNet} from '../../src/core/os/net-tcp.js';
import {OPS} from '../../src/core/protocol/ops.js';
import {Handlers} from '../../src/core/transport/handlers.js';
import {Peer} from '../../src/core/transport/peer.js';
import {realClock} from '../support/real-clock.js';

const SHAPE = {small: 256, medium: 64, large: 64};
const BLOCK = 1 << 20;
const pool = new BufferPool(new ArrayBuffer(poolBytes(SHAPE)), SHAPE);
const env = {clock: realClock, log: silentLog, pool};
const net = new TcpNet(pool);
const attr = {
  oid: 4711,
  mode: 0o100644,
  nlink: 1,
  uid: 1000,
  gid: 1000,
  rdev: 0,
  size: 123456,
  blocks: 248,
  atime: {sec: 1.7e9, nsec: 5},
  mtime: {sec: 1.7e9, nsec: 5},
  ctime: {sec: 1.7e9, nsec: 5},
  version: 9,
  xattrs: false,
};

function segment(bytes: number) {
  const slot = pool.alloc(bytes);
  return {slot, offset: pool.payload(slot), length: bytes};
}

async function serve(): Promise<void> {
  const handlers = new Handlers<null>()
    .on(OPS.getattr, () => ({message: {attr, lease: 0, under: 0}}))
    .on(OPS.lookup, async () => ({
      message: {attr, directory: null, directoryLease: 0, lease: 0, cacheable: false, cookie: 0},
    }))
    .on(OPS.write, (_request, _context, payload) => {
      pool.release(payload!.slot);
      return {message: {}};
    })
    .on(OPS.read, (request) => ({message: {}, payload: [segment(request.ranges[0]!.length)]}))
    .on(OPS.heartbeat, () => {
      const {user, system} = process.cpuUsage();
      return {message: {epoch: user + system}};
    });
  const listener = await net.listen('127.0.0.1:0', (connection) => {
    new Peer(env, connection, {onClosed: () => process.exit(0)}).serve(handlers, null);
  });
  console.log(listener.address);
}

async function run(
  peer: Peer,
  name: string,
  inFlight: number,
  count: number,
  one: () => Promise<void>,
  bytes = 0,
) {
  const lane = async (calls: number) => {
    for (let i = 0; i < calls; i++) await one();
  };
  await Promise.all(Array.from({length: inFlight}, () => lane(Math.ceil(count / inFlight / 10))));
  const server = async () => (await peer.call(OPS.heartbeat, {})).message.epoch;
  const serverBefore = await server();
  const before = process.cpuUsage();
  const start = performance.now();
  await Promise.all(Array.from({length: inFlight}, () => lane(Math.ceil(count / inFlight))));
  const seconds = (performance.now() - start) / 1000;
  const {user, system} = process.cpuUsage(before);
  const serverCpu = (await server()) - serverBefore;
  const rate =
    bytes > 0
      ? `${((count * bytes) / seconds / 1e6).toFixed(0)} MB/s`
      : `${(count / seconds).toFixed(0)}/s`;
  console.log(
    `${name.padEnd(28)} ${rate.padStart(12)}  client ${((user + system) / count).toFixed(1)} us, server ${(serverCpu / count).toFixed(1)} us per call`,
  );
}

async function main(): Promise<void> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), 'serve'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const address = await new Promise<string>((resolve) =>
    child.stdout.once('data', (line) => resolve(String(line).trim())),
  );
  const peer = new Peer(env, await net.connect(address, 1000));
  const getattr = async () => void (await peer.call(OPS.getattr, {oid: 4711}));
  const lookup = async () =>
    void (await peer.call(OPS.lookup, {parent: 1, name: Buffer.from('some-name')}));
  const ref = {
    oid: 1,
    chunk: 0,
    generation: 0,
    column: 0,
    k: 4,
    m: 1,
    unitBytes: 65536,
    epoch: 1,
    repair: false,
  };
  const write = (bytes: number) => async () => {
    await peer.call(OPS.write, {ref, ranges: []}, {payload: [segment(bytes)]});
  };
  const read = (bytes: number) => async () => {
    const {payload} = await peer.call(OPS.read, {ref, ranges: [{offset: 0, length: bytes}]});
    pool.release(payload!.slot);
  };
  for (let round = 0; round < 2; round++) {
    await run(peer, 'getattr, 1 in flight', 1, 20_000, getattr);
    await run(peer, 'getattr, 64 in flight', 64, 200_000, getattr);
    await run(peer, 'lookup async, 64 in flight', 64, 200_000, lookup);
    await run(peer, 'write 4 KiB, 1 in flight', 1, 10_000, write(4096), 4096);
    await run(peer, 'write 64 KiB, 8 in flight', 8, 20_000, write(65536), 65536);
    await run(peer, 'write 1 MiB, 1 in flight', 1, 1000, write(BLOCK), BLOCK);
    await run(peer, 'write 1 MiB, 8 in flight', 8, 2000, write(BLOCK), BLOCK);
    await run(peer, 'read 4 KiB, 64 in flight', 64, 50_000, read(4096), 4096);
    await run(peer, 'read 64 KiB, 8 in flight', 8, 20_000, read(65536), 65536);
    await run(peer, 'read 1 MiB, 1 in flight', 1, 1000, read(BLOCK), BLOCK);
    await run(peer, 'read 1 MiB, 8 in flight', 8, 2000, read(BLOCK), BLOCK);
  }
  peer.close('done');
  console.log(`slots in use: ${pool.used}`);
}

await (process.argv[2] === 'serve' ? serve() : main());
