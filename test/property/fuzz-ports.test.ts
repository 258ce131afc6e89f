// Goal: whoever reaches a port, with a credential or without, ends nothing, keeps nobody out, and holds no memory for ever (C100, U60). Method: real sockets; bytes at random, handshakes
// that are cut and changed, frames that are damaged behind a good handshake, connections that say nothing or stop half way, while others use the port.
import {connect, type Socket} from 'node:net';
import {afterEach, describe, expect, test} from '@jest/globals';
import {LEVELS, type Level} from '../../src/core/base/identity.js';
import type {Log} from '../../src/core/env/log.js';
import type {Connection} from '../../src/core/env/net.js';
import {secureDialled} from '../../src/core/os/handshake.js';
import {Keyring, newClusterKey, newSerial} from '../../src/core/os/keyring.js';
import {TcpNet} from '../../src/core/os/net-tcp.js';
import {OPS} from '../../src/core/protocol/ops.js';
import {openAdminPort} from '../../src/roles/observe/http.js';
import {frameBytes, makePool, pattern, seeded} from '../support/frames.js';
import {emptyRequests} from '../support/fuzz-connection.js';
import {mutateFrame} from '../support/mutate-frame.js';

const seed = Number(process.env.FUZZ_SEED ?? 4711);
const ROUNDS = Number(process.env.FUZZ_ROUNDS ?? 150);
const MINUTES = 60_000;
const SHAPE = {small: 64, medium: 16, large: 16};
const server = Keyring.parse(newClusterKey());
const claims = {name: 'attacker', rights: 'rw', serial: newSerial(), until: 0} as const;
const client = Keyring.parse(server.issue(claims));
const security = (keys: Keyring, floor: Level) => ({keys, floor, refusal: () => null});
const none = new Uint8Array(0);

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what: string, so: () => boolean, ms = 15_000): Promise<void> {
  const end = performance.now() + ms;
  while (!so()) {
    if (performance.now() > end) throw new Error(`never: ${what}`);
    await pause(5);
  }
}

/** A port that answers each frame with its payload, and one that asks it all the time. */
class Port {
  readonly pool = makePool(SHAPE);
  readonly own = makePool(SHAPE);
  readonly refused: string[] = [];
  address = '';
  served = 0;
  #connection: Connection | null = null;

  constructor(
    readonly level: Level,
    readonly frameMs = 30_000,
  ) {}

  async open(): Promise<this> {
    const log: Log = {
      debug: () => {},
      info: () => {},
      error: () => {},
      with: () => log,
      warn: (_, fields) => void this.refused.push(String(fields?.reason)),
    };
    const net = new TcpNet(this.pool, log, null, security(server, this.level), this.frameMs);
    const listener = await net.listen('127.0.0.1:0', (connection) =>
      connection.handle({
        frame: ({type, id, payload}) =>
          connection.send(type, 1, id, 0, none, payload === null ? null : [payload]),
        closed: () => {},
        drained: () => {},
      }),
    );
    this.address = listener.address;
    ends.push(() => listener.close());
    await this.#use();
    return this;
  }

  async #use(): Promise<void> {
    const net = new TcpNet(this.own, undefined, null, security(server, this.level));
    const connection = await net.connect(this.address, 2_000);
    this.#connection = connection;
    ends.push(() => connection.close('end of the test'));
    const ask = (id: number): void =>
      connection.send(OPS.read.code, 0, id, 0, pattern(30, id), null);
    connection.handle({
      frame: ({id, payload}) => {
        if (payload !== null) this.own.release(payload.slot);
        this.served++;
        setTimeout(() => ask(id + 1), 1);
      },
      closed: () => {
        this.#connection = null;
      },
      drained: () => {},
    });
    ask(1);
  }

  /** Its user is served on, and somebody else gets in. */
  async works(): Promise<void> {
    const {served} = this;
    await until('its user is served', () => this.served > served + 5);
    expect(this.#connection).not.toBeNull();
    const net = new TcpNet(this.own, undefined, null, security(client, this.level));
    const begun = performance.now();
    (await net.connect(this.address, 2_000)).close('seen');
    expect(performance.now() - begun).toBeLessThan(3_000);
  }
}

/** Open, with what came of it dropped. */
function dial(address: string): Promise<Socket> {
  const [host, port] = address.split(':');
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), host);
    ends.push(() => socket.destroy());
    socket.once('error', reject);
    socket.once('connect', () =>
      resolve(
        socket
          .off('error', reject)
          .on('error', () => {})
          .resume(),
      ),
    );
  });
}

const random = (below: (bound: number) => number, most: number): Buffer =>
  Buffer.from(Array.from({length: 1 + below(most)}, () => below(256)));

/** What who dials says, as a recording: each piece as it was written. */
async function recorded(port: Port): Promise<Buffer[]> {
  const socket = await dial(port.address);
  const said: Buffer[] = [];
  const write = socket.write.bind(socket) as (bytes: Buffer, ...more: unknown[]) => boolean;
  socket.write = ((bytes: Buffer, ...more: unknown[]) => {
    said.push(Buffer.from(bytes));
    return write(bytes, ...more);
  }) as typeof socket.write;
  await secureDialled(socket, security(client, port.level)).catch(() => {});
  socket.destroy();
  return said;
}

describe(`ports at which one proves who he is (seed ${seed})`, () => {
  for (const level of LEVELS)
    test(
      `before the proof, at ${level}: bytes at random, and handshakes that are changed, cut, repeated or reset`,
      async () => {
        const below = seeded(seed);
        const port = await new Port(level).open();
        const said = await recorded(level === 'auth' ? port : await new Port('auth').open());
        said[0]![5] = LEVELS.indexOf(level);
        expect(said.length).toBeGreaterThan(1);
        for (let round = 0; round < ROUNDS; round++) {
          const socket = await dial(port.address);
          const pieces =
            below(3) === 0 ? [random(below, 2_000)] : said.slice(0, 1 + below(said.length));
          for (const piece of pieces) {
            const bytes = Buffer.from(piece);
            if (below(2) === 0) bytes[below(bytes.length)]! ^= 1 << below(8);
            socket.write(below(4) === 0 ? bytes.subarray(0, below(bytes.length)) : bytes);
            if (below(2) === 0) await pause(below(3));
          }
          if (below(4) === 0) socket.resetAndDestroy();
          else if (below(2) === 0) socket.end();
        }
        await port.works();
        await until('all are refused', () => port.refused.length > ROUNDS / 2);
        expect(port.refused.filter((why) => /undefined|not a function|is null/.test(why))).toEqual(
          [],
        );
      },
      MINUTES,
    );

  for (const level of LEVELS)
    test(
      `behind the proof, at ${level}: damaged frames end the connection that they came over, and no other`,
      async () => {
        const below = seeded(seed + 1);
        const port = await new Port(level, 400).open();
        const write = {type: OPS.write.code, flags: 0, id: 9, status: 0, message: pattern(50, 1)};
        const samples = [...emptyRequests(), frameBytes({...write, payload: pattern(9_000, 2)})];
        for (let round = 0; round < ROUNDS / 3; round++) {
          const socket = await dial(port.address);
          socket.pause();
          const {tls} = await secureDialled(socket, security(client, level));
          const way = tls ?? socket;
          way.on('error', () => {}).resume();
          for (let frames = 1 + below(4); frames > 0 && way.writable; frames--)
            way.write(mutateFrame(samples[below(samples.length)]!, below));
          if (below(3) === 0) await pause(1);
          if (below(4) === 0) socket.resetAndDestroy();
        }
        await port.works();
        // Whoever stopped in the midst of a frame holds nothing any more.
        await until('the pool is free', () => port.pool.used === 0);
      },
      MINUTES,
    );

  test(
    `300 connections that say nothing, and 300 that say little, keep nobody out`,
    async () => {
      const port = await new Port('auth').open();
      for (let count = 0; count < 300; count++) {
        await dial(port.address);
        (await dial(port.address)).write('cp');
      }
      await port.works();
    },
    MINUTES,
  );

  test(
    'who begins frames and does not end them holds the pool for a while, and no longer',
    async () => {
      const port = await new Port('auth', 1_000).open();
      const frame = frameBytes({
        ...{type: OPS.write.code, flags: 0, id: 9, status: 0, message: none},
        payload: pattern(1 << 20, 2),
      });
      const sockets: Socket[] = [];
      for (let count = 0; count < SHAPE.large; count++) {
        const socket = await dial(port.address);
        socket.pause();
        await secureDialled(socket, security(client, 'auth'));
        socket.resume();
        socket.write(frame.subarray(0, 100_000));
        sockets.push(socket);
      }
      await until('they hold it', () => port.pool.used >= SHAPE.large);
      await until('it is free', () => port.pool.used === 0, 5_000);
      // Who says nothing between two frames is no such one.
      const own = makePool(SHAPE);
      const net = new TcpNet(own, undefined, null, security(client, 'auth'));
      const connection = await net.connect(port.address, 2_000);
      let closed = false;
      connection.handle({frame: () => {}, closed: () => (closed = true), drained: () => {}});
      connection.send(OPS.read.code, 0, 1, 0, none, null);
      await pause(2_500);
      expect(closed).toBe(false);
      connection.close('seen');
    },
    MINUTES,
  );
});

test(
  `the port for those who watch: requests that are none, and connections that say nothing, keep nobody from asking (seed ${seed})`,
  async () => {
    const below = seeded(seed);
    const warned: string[] = [];
    const log = {
      info: () => {},
      warn: (event: string) => void warned.push(event),
    } as unknown as Log;
    const port = await openAdminPort('127.0.0.1:0', log, {
      checks: () => [{name: 'one', ok: true, why: 'it is'}],
      metrics: () => Promise.resolve('x 1\n'),
      version: () => ({role: 'meta'}),
    });
    ends.push(() => port.close());
    const requests = [
      'GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n',
      'GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n',
      'GET //%%%?\\ HTTP/1.1\r\nHost: a\r\n\r\n',
      'POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\nx',
      'POST /readyz HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nffffffffff\r\n',
      `GET /${'a'.repeat(100_000)} HTTP/1.1\r\n\r\n`,
      `GET /livez HTTP/1.1\r\n${'X: y\r\n'.repeat(5_000)}\r\n`,
      'CONNECT x:1 HTTP/1.1\r\n\r\n',
      'GET /version HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    ];
    for (let round = 0; round < 2 * ROUNDS; round++) {
      const socket = await dial(port.address);
      const bytes =
        below(4) === 0 ? random(below, 500) : Buffer.from(requests[below(requests.length)]!);
      if (below(3) === 0) bytes[below(bytes.length)]! ^= 1 << below(8);
      socket.write(below(3) === 0 ? bytes.subarray(0, below(bytes.length)) : bytes);
      if (below(5) === 0) socket.resetAndDestroy();
    }
    for (let count = 0; count < 200; count++) await dial(port.address);
    for (const path of ['livez', 'readyz', 'metrics', 'version']) {
      const begun = performance.now();
      const answer = await fetch(`http://${port.address}/${path}`);
      expect([path, answer.status]).toEqual([path, 200]);
      await answer.text();
      expect(performance.now() - begun).toBeLessThan(2_000);
    }
    expect(warned.every((event) => event === 'admin.failed')).toBe(true);
  },
  MINUTES,
);
