import {connect as rawConnect, type Socket} from 'node:net';
import {networkInterfaces} from 'node:os';
import {afterEach, describe, expect, test} from '@jest/globals';
import {FsError, Lost} from '../../../../src/core/base/errors.js';
import {MIB} from '../../../../src/core/base/units.js';
import type {Connection, Frame, Listener} from '../../../../src/core/env/net.js';
import {TcpNet} from '../../../../src/core/os/net-tcp.js';
import {FLAG} from '../../../../src/core/protocol/frame.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {
  concat,
  digest,
  frameBytes,
  makePool,
  type PlainFrame,
  pattern,
  segmentOf,
} from '../../../support/frames.js';

const none = new Uint8Array(0);
const SHAPE = {small: 64, medium: 16, large: 16};

/** One end, with what it has received and a way to wait for it. */
class End {
  readonly frames: PlainFrame[] = [];
  closed: string | null = null;
  drained = 0;
  /** Set: payload is kept, so that its slots stay taken. */
  keep = false;
  readonly kept: Frame[] = [];
  #wake: (() => void) | null = null;

  constructor(
    readonly connection: Connection,
    readonly pool: ReturnType<typeof makePool>,
  ) {
    connection.handle({
      frame: (frame) => this.#frame(frame),
      closed: (reason) => {
        expect(this.closed).toBeNull();
        this.closed = reason;
        this.#wake?.();
      },
      drained: () => {
        this.drained++;
        this.#wake?.();
      },
    });
  }

  #frame(frame: Frame): void {
    expect(this.closed).toBeNull();
    const {payload, ...rest} = frame;
    const bytes =
      payload === null ? none : Uint8Array.from(this.pool.view(payload.offset, payload.length));
    this.frames.push({...rest, message: Uint8Array.from(frame.message), payload: bytes});
    if (this.keep) this.kept.push(frame);
    else if (payload !== null) this.pool.release(payload.slot);
    this.#wake?.();
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition())
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
  }

  write(id: number, bytes: Uint8Array, flags = 0): void {
    this.connection.send(OPS.write.code, flags, id, 0, pattern(20, id), [
      segmentOf(this.pool, bytes),
    ]);
  }

  request(id: number, message = none): void {
    this.connection.send(OPS.getattr.code, 0, id, 0, message, null);
  }
}

const open: {connections: Connection[]; listeners: Listener[]; sockets: Socket[]} = {
  connections: [],
  listeners: [],
  sockets: [],
};

afterEach(async () => {
  for (const connection of open.connections.splice(0)) connection.close('end of the test');
  for (const socket of open.sockets.splice(0)) socket.destroy();
  await Promise.all(open.listeners.splice(0).map((listener) => listener.close()));
});

async function listen(
  net: TcpNet,
  accept: (connection: Connection) => void,
  address = '127.0.0.1:0',
) {
  const listener = await net.listen(address, (connection) => {
    open.connections.push(connection);
    accept(connection);
  });
  open.listeners.push(listener);
  return listener;
}

/** Two ends with a pool each. */
async function pair(serverShape = SHAPE): Promise<[End, End]> {
  const [clientPool, serverPool] = [makePool(SHAPE), makePool(serverShape)];
  let server: End | null = null;
  const {address} = await listen(new TcpNet(serverPool), (connection) => {
    server = new End(connection, serverPool);
  });
  const connection = await new TcpNet(clientPool).connect(address, 1000);
  open.connections.push(connection);
  const client = new End(connection, clientPool);
  client.request(1);
  while (server === null) await new Promise((resolve) => setImmediate(resolve));
  const accepted: End = server;
  await accepted.until(() => accepted.frames.length === 1);
  accepted.frames.length = 0;
  return [client, accepted];
}

/** Both pools are empty as soon as both sockets are gone. */
async function expectNothingLeaked(...ends: End[]): Promise<void> {
  for (const end of ends) end.connection.close('done');
  const deadline = performance.now() + 3000;
  while (ends.some((end) => end.pool.used > 0) && performance.now() < deadline)
    await new Promise((resolve) => setImmediate(resolve));
  expect(ends.map((end) => end.pool.used)).toEqual([0, 0]);
}

describe('frames over TCP', () => {
  test('messages and payload of all sizes arrive whole and in order, both ways at once', async () => {
    const [client, server] = await pair();
    const expected: PlainFrame[] = [];
    const sizes = [1, 4096, 8191, 16_384, 100_000, MIB, 3, MIB, 65_536];
    for (const [at, size] of sizes.entries()) {
      for (const end of [client, server]) {
        end.request(100 + at, pattern(at * 3000, at));
        end.write(at + 1, pattern(size, at), at % 2 === 0 ? FLAG.payloadSum : 0);
      }
      const {getattr, write} = OPS;
      const plain = {flags: 0, status: 0};
      expected.push({
        ...plain,
        type: getattr.code,
        id: 100 + at,
        message: pattern(at * 3000, at),
        payload: none,
      });
      const flags = at % 2 === 0 ? FLAG.payloadSum : 0;
      expected.push({
        ...plain,
        flags,
        type: write.code,
        id: at + 1,
        message: pattern(20, at + 1),
        payload: pattern(size, at),
      });
    }
    for (const end of [client, server]) {
      await end.until(() => end.frames.length === expected.length);
      expect(end.frames.map(digest)).toEqual(expected.map(digest));
      expect(end.connection.queuedBytes).toBe(0);
    }
    expect([client.pool.used, server.pool.used]).toEqual([0, 0]);
  });

  test('payload of several segments arrives as one', async () => {
    const [client, server] = await pair();
    const parts = [pattern(4096, 1), pattern(50_000, 2), pattern(1, 3)];
    const segments = parts.map((part) => segmentOf(client.pool, part));
    client.connection.send(OPS.write.code, 0, 1, 0, none, segments);
    await server.until(() => server.frames.length === 1);
    expect(Buffer.compare(server.frames[0]!.payload, concat(parts))).toBe(0);
    await expectNothingLeaked(client, server);
  });

  test('a receiver without free slots stops reading and loses nothing', async () => {
    const [client, server] = await pair({small: 0, medium: 0, large: 2});
    server.keep = true;
    for (let id = 1; id <= 8; id++) client.write(id, pattern(300_000, id));
    for (let id = 1; id <= 8; id++) {
      await server.until(() => server.kept.length > 0);
      expect(server.pool.used).toBeLessThanOrEqual(2);
      server.pool.release(server.kept.shift()!.payload!.slot);
    }
    expect(server.frames.map((frame) => frame.id)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    for (const frame of server.frames)
      expect(Buffer.compare(frame.payload, pattern(300_000, frame.id))).toBe(0);
    await expectNothingLeaked(client, server);
  });

  test('several starved connections share what becomes free', async () => {
    const serverPool = makePool({small: 0, medium: 0, large: 1});
    const ends: End[] = [];
    const {address} = await listen(new TcpNet(serverPool), (connection) => {
      ends.push(new End(connection, serverPool));
    });
    const clientPool = makePool(SHAPE);
    const net = new TcpNet(clientPool);
    const clients: End[] = [];
    for (let at = 0; at < 4; at++) {
      const connection = await net.connect(address, 1000);
      open.connections.push(connection);
      clients.push(new End(connection, clientPool));
    }
    for (let id = 1; id <= 3; id++) for (const end of clients) end.write(id, pattern(200_000, id));
    while (ends.length < 4) await new Promise((resolve) => setImmediate(resolve));
    for (const end of ends) await end.until(() => end.frames.length === 3);
    expect(ends.map((end) => end.frames.map((frame) => frame.id))).toEqual(
      Array(4).fill([1, 2, 3]),
    );
    expect([serverPool.used, clientPool.used]).toEqual([0, 0]);
  });

  test('pause holds back frames, even those that have arrived; the queue fills and drains', async () => {
    const [client, server] = await pair();
    server.connection.pause();
    const limit = client.connection.queueLimit;
    let id = 0;
    while (client.connection.queuedBytes <= limit) {
      client.write(++id, pattern(MIB, 1));
      // The kernel takes some; then it does not any more, and the queue grows.
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(server.frames).toEqual([]);
    expect(client.drained).toBe(0);
    server.connection.resume();
    await client.until(() => client.drained === 1);
    expect(client.connection.queuedBytes).toBeLessThan(limit / 2);
    await server.until(() => server.frames.length === id);
    await expectNothingLeaked(client, server);
  });

  test('frames that come before there is a handler wait for it', async () => {
    const pool = makePool();
    const accepted: Connection[] = [];
    const {address} = await listen(new TcpNet(pool), (connection) => accepted.push(connection));
    const clientPool = makePool();
    const connection = await new TcpNet(clientPool).connect(address, 1000);
    open.connections.push(connection);
    const client = new End(connection, clientPool);
    for (let id = 1; id <= 4; id++) client.write(id, pattern(id * 9000, id));
    // So many turns of the event loop that a scratch buffer full of it has been read.
    for (let turn = 0; turn < 50 || accepted.length === 0; turn++)
      await new Promise((resolve) => setImmediate(resolve));
    const server = new End(accepted[0]!, pool);
    await server.until(() => server.frames.length === 4);
    for (const {id, payload} of server.frames)
      expect(Buffer.compare(payload, pattern(id * 9000, id))).toBe(0);
    await expectNothingLeaked(client, server);
  });

  test('pause inside of the handler: one frame at a time, none lost', async () => {
    const [client, server] = await pair();
    const seen: number[] = [];
    server.connection.handle({
      frame: (frame) => {
        if (frame.payload !== null) server.pool.release(frame.payload.slot);
        seen.push(frame.id);
        server.connection.pause();
      },
      closed: () => {},
      drained: () => {},
    });
    for (let id = 1; id <= 40; id++) {
      if (id % 4 === 0) client.write(id, pattern(id * 1000, id));
      else client.request(id);
    }
    for (let count = 1; count <= 40; count++) {
      while (seen.length < count) await new Promise((resolve) => setImmediate(resolve));
      expect(seen.length).toBe(count);
      server.connection.resume();
    }
    expect(seen).toEqual(Array.from({length: 40}, (_, at) => at + 1));
    await expectNothingLeaked(client, server);
  });
});

describe('the end of a TCP connection', () => {
  test('what was sent before close arrives; then the peer is told', async () => {
    const [client, server] = await pair();
    client.write(5, pattern(MIB, 5));
    client.request(6);
    client.connection.close('enough');
    expect(client.closed).toBe('enough');
    client.write(7, pattern(10, 7)); // Into the void, and its slot is given back.
    await server.until(() => server.closed !== null);
    expect(server.frames.map((frame) => frame.id)).toEqual([5, 6]);
    expect(server.closed).toBe('closed by the peer');
    await expectNothingLeaked(client, server);
  });

  test('a peer that does not read cannot hold what close left', async () => {
    const [client, server] = await pair();
    server.connection.pause();
    // More than the kernel's buffers of both ends take.
    for (let id = 1; id <= 14; id++) client.write(id, pattern(MIB, 1));
    client.connection.close('enough');
    expect(client.pool.used).toBeGreaterThan(0);
    while (client.pool.used > 0) await new Promise((resolve) => setImmediate(resolve));
    expect(server.closed).toBeNull();
    await expectNothingLeaked(client, server);
  });

  test('closing in the middle of a payload gives its slot back', async () => {
    const pool = makePool();
    const ends: End[] = [];
    const {address} = await listen(new TcpNet(pool), (connection) => {
      ends.push(new End(connection, pool));
    });
    const raw = rawConnect({host: '127.0.0.1', port: Number(address.split(':')[1])});
    open.sockets.push(raw);
    const frame = {
      type: OPS.write.code,
      flags: 0,
      id: 1,
      status: 0,
      message: none,
      payload: pattern(MIB, 1),
    };
    raw.write(frameBytes(frame).subarray(0, 500_000));
    while (pool.used === 0) await new Promise((resolve) => setImmediate(resolve));
    raw.end();
    const [server] = ends;
    await server!.until(() => server!.closed !== null);
    expect(server!.closed).toBe('cut in a frame');
    while (pool.used > 0) await new Promise((resolve) => setImmediate(resolve));
  });

  test('what is no frame closes the connection with the reason', async () => {
    const pool = makePool();
    const ends: End[] = [];
    const {address} = await listen(new TcpNet(pool), (connection) => {
      ends.push(new End(connection, pool));
    });
    const raw = rawConnect({host: '127.0.0.1', port: Number(address.split(':')[1])});
    open.sockets.push(raw);
    raw.write('GET / HTTP/1.1\r\nHost: wrong.example\r\n\r\n');
    await new Promise((resolve) => raw.once('close', resolve).resume());
    expect(ends[0]!.closed).toMatch(/^magic/);
  });
});

describe('addresses of TCP', () => {
  test('a port in use is EBUSY with the address in the text', async () => {
    const net = new TcpNet(makePool());
    const {address} = await listen(net, () => {});
    const error: unknown = await net.listen(address, () => {}).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(FsError);
    expect(error).toMatchObject({
      errno: 'EBUSY',
      detail: `${address} is in use by another process`,
    });
  });

  test('nobody there is Lost; nonsense is EINVAL', async () => {
    const net = new TcpNet(makePool());
    const listener = await net.listen('127.0.0.1:0', () => {});
    await listener.close();
    await expect(net.connect(listener.address, 1000)).rejects.toBeInstanceOf(Lost);
    await expect(net.connect('127.0.0.1', 1000)).rejects.toMatchObject({errno: 'EINVAL'});
    await expect(net.listen('[::1:80', () => {})).rejects.toMatchObject({errno: 'EINVAL'});
    await expect(net.listen('203.0.113.1:0', () => {})).rejects.toMatchObject({errno: 'EINVAL'});
  });

  test('connect gives up after its time', async () => {
    // TEST-NET-1 (RFC 5737): no route, or nobody who answers.
    await expect(new TcpNet(makePool()).connect('192.0.2.1:9', 50)).rejects.toBeInstanceOf(Lost);
  });

  test('IPv6, or a clear word where there is none', async () => {
    const pool = makePool();
    const net = new TcpNet(pool);
    const ends: End[] = [];
    const here = Object.values(networkInterfaces()).flat();
    if (!here.some((one) => one?.address === '::1')) {
      await expect(net.listen('[::1]:0', () => {})).rejects.toBeInstanceOf(FsError);
      return;
    }
    const {address} = await listen(
      net,
      (connection) => ends.push(new End(connection, pool)),
      '[::1]:0',
    );
    expect(address).toMatch(/^\[::1\]:\d+$/);
    const connection = await net.connect(address, 1000);
    open.connections.push(connection);
    new End(connection, pool).request(3);
    while (ends.length === 0) await new Promise((resolve) => setImmediate(resolve));
    await ends[0]!.until(() => ends[0]!.frames.length === 1);
    expect(ends[0]!.connection.peer).toMatch(/^\[::1\]:\d+$/);
  });
});
