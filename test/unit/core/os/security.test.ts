// Goal: two ends that share a secret prove it to each other, get the level that both bear, and nobody else gets in, or in between (P9, P42, U60; SEEDS.md 6.4
// point 24). Method: real sockets, and somebody in the middle who changes, cuts and repeats bytes.
import {createServer, type Server, type Socket, connect as tcp} from 'node:net';
import {Worker} from 'node:worker_threads';
import {afterEach, describe, expect, test} from '@jest/globals';
import {LEVELS, type Level} from '../../../../src/core/base/identity.js';
import type {BufferPool} from '../../../../src/core/base/pool.js';
import type {Log} from '../../../../src/core/env/log.js';
import type {Connection, Listener} from '../../../../src/core/env/net.js';
import type {Security} from '../../../../src/core/os/handshake.js';
import {identityOf, Keyring, newClusterKey, newSerial} from '../../../../src/core/os/keyring.js';
import {TcpNet} from '../../../../src/core/os/net-tcp.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {makePool, pattern, segmentOf} from '../../../support/frames.js';

const SHAPE = {small: 64, medium: 16, large: 16};
const CLUSTER = newClusterKey();
const server = Keyring.parse(CLUSTER);
const claims = {name: 'backup', rights: 'ro', serial: newSerial(), until: 0} as const;
const client = Keyring.parse(server.issue(claims));

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

function security(keys: Keyring, floor: Level = 'auth', refusal: Security['refusal'] = () => null) {
  return {keys, floor, refusal};
}

interface Got {
  connection: Connection;
  frames: {id: number; message: string; payload: string}[];
  closed: string | null;
}

function receive(connection: Connection, pool: BufferPool): Got {
  const got: Got = {connection, frames: [], closed: null};
  connection.handle({
    frame: ({id, message, payload}) => {
      const bytes = payload === null ? [] : pool.view(payload.offset, payload.length);
      got.frames.push({
        id,
        message: Buffer.from(message).toString('hex'),
        payload: Buffer.from(bytes).toString('hex'),
      });
      if (payload !== null) pool.release(payload.slot);
    },
    closed: (reason) => {
      got.closed = reason;
    },
    drained: () => {},
  });
  ends.push(() => connection.close('end of the test'));
  return got;
}

async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 5_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error('it does not happen');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Who listens, with what it let in and why it refused others. */
async function listening(its: Security | null) {
  const accepted: Got[] = [];
  const refused: string[] = [];
  const log: Log = {
    debug: () => {},
    info: () => {},
    error: () => {},
    with: () => log,
    warn: (event, fields) => {
      if (event === 'net.refused') refused.push(String(fields?.reason));
    },
  };
  const pool = makePool(SHAPE);
  const listener: Listener = await new TcpNet(pool, log, null, its).listen('127.0.0.1:0', (one) =>
    accepted.push(receive(one, pool)),
  );
  ends.push(() => listener.close());
  return {address: listener.address, accepted, refused};
}

async function dial(address: string, its: Security | null): Promise<{got: Got; pool: BufferPool}> {
  const pool = makePool(SHAPE);
  const connection = await new TcpNet(pool, undefined, null, its).connect(address, 2_000);
  return {got: receive(connection, pool), pool};
}

/** All that passes goes through `change`, which may cut it. */
async function between(
  address: string,
  change: (bytes: Buffer, from: 'client' | 'server', count: number) => Buffer | null,
): Promise<string> {
  const sockets: Socket[] = [];
  const middle: Server = createServer((left) => {
    const [host, port] = address.split(':');
    const right = tcp(Number(port), host);
    sockets.push(left, right);
    for (const [from, a, b] of [
      ['client', left, right],
      ['server', right, left],
    ] as const) {
      let count = 0;
      a.on('data', (bytes) => {
        const changed = change(bytes, from, count++);
        if (changed === null) b.destroy();
        else b.write(changed);
      });
      a.on('close', () => b.destroy());
      a.on('error', () => {});
    }
  });
  await new Promise<void>((resolve) => middle.listen(0, '127.0.0.1', resolve));
  ends.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => middle.close(resolve));
  });
  return `127.0.0.1:${(middle.address() as {port: number}).port}`;
}

const write = ({got, pool}: {got: Got; pool: BufferPool}, id: number, bytes: number): void =>
  got.connection.send(OPS.write.code, 0, id, 0, pattern(20, id), [
    segmentOf(pool, pattern(bytes, id)),
  ]);

describe('a secret that both have', () => {
  for (const floor of LEVELS)
    for (const demanded of LEVELS)
      test(`who dials demands ${floor}, who listens ${demanded}: frames arrive as they were sent`, async () => {
        const {address, accepted} = await listening(security(server, demanded));
        const seen: Buffer[] = [];
        const way = await between(address, (bytes) => {
          seen.push(Buffer.from(bytes));
          return bytes;
        });
        const one = await dial(way, security(client, floor));
        for (let id = 1; id <= 40; id++) write(one, id, id * 1000);
        await until(() => accepted[0]?.frames.length === 40);
        const [other] = accepted;
        expect(other!.frames.map(({payload}) => payload)).toEqual(
          Array.from({length: 40}, (_, i) =>
            Buffer.from(pattern((i + 1) * 1000, i + 1)).toString('hex'),
          ),
        );
        expect(other!.connection.identity).toEqual({kind: 'client', ...claims});
        expect(one.got.connection.identity).toEqual({kind: 'server'});
        other!.connection.send(OPS.write.code, 1, 40, 0, pattern(7, 1), null);
        await until(() => one.got.frames.length === 1);
        expect(one.got.frames[0]!.message).toBe(Buffer.from(pattern(7, 1)).toString('hex'));
        const clear = Buffer.concat(seen).includes(Buffer.from(pattern(9_000, 9)));
        expect(clear).toBe(floor !== 'encrypt' && demanded !== 'encrypt');
      });

  test('a server to a server, with the second of two keys while they are replaced', async () => {
    const both = Keyring.parse(`${newClusterKey()} # new\n${CLUSTER}\n`);
    const {address, accepted} = await listening(security(both));
    const {got} = await dial(address, security(server));
    got.connection.send(OPS.getattr.code, 0, 1, 0, pattern(3, 1), null);
    await until(() => accepted[0]?.frames.length === 1);
    expect(accepted[0]!.connection.identity).toEqual({kind: 'server'});
  });
});

test('who dials speaks as soon as it may: nothing of that is lost', async () => {
  const count = 200;
  const {address, accepted} = await listening(security(server));
  const workerData = {address, keys: server.issue(claims), count};
  const worker = new Worker(new URL('../../../support/dial-main.js', import.meta.url), {
    workerData,
  });
  ends.push(() => worker.terminate());
  for (let seen = 0; seen < count; seen++) {
    await until(() => (accepted[seen]?.frames.length ?? 0) === 1);
    accepted[seen]!.connection.close('seen');
  }
});

describe('who is not let in', () => {
  const refusedAs = async (its: Security | null, demanded = security(server)) => {
    const {address, accepted, refused} = await listening(demanded);
    const error = await dial(address, its).then(
      ({got}) => {
        got.connection.send(OPS.getattr.code, 0, 1, 0, pattern(3, 1), null);
        return null;
      },
      (caught: Error) => caught.message,
    );
    await until(() => refused.length > 0);
    expect(accepted).toEqual([]);
    return {error, why: refused.join()};
  };

  test('who has no secret', async () => {
    expect((await refusedAs(null)).why).toBe('it proves nothing of itself');
  });

  test('who has the key of another cluster, and the credential of another one', async () => {
    const other = Keyring.parse(newClusterKey());
    const told = await refusedAs(security(other));
    expect(told.why).toBe('it has not the secret of a server');
    expect(told.error).toContain('it does not accept the keys of this side');
    const stranger = Keyring.parse(other.issue(claims));
    expect((await refusedAs(security(stranger))).why).toContain('client backup');
  });

  test('whose claims were changed: more rights have another secret', async () => {
    const [, identity, secret] = server.issue(claims).split(' ');
    const [version, key] = identity!.split(':');
    const more = JSON.stringify([claims.name, 'admin', claims.serial, 0]);
    const text = `client ${version}:${key}:${Buffer.from(more).toString('base64url')} ${secret}`;
    expect((await refusedAs(security(Keyring.parse(text)))).why).toContain('client backup');
  });

  test('who was revoked, or whose credential has expired', async () => {
    const why = await refusedAs(
      security(client),
      security(server, 'auth', (identity) =>
        identity.kind === 'client' ? `${identity.serial} was revoked` : null,
      ),
    );
    expect(why.why).toContain(`${claims.serial} was revoked`);
  });

  test('who dials a server that has not the secret: it says nothing to it', async () => {
    const {address, accepted} = await listening(security(Keyring.parse(newClusterKey())));
    await expect(dial(address, security(client))).rejects.toThrow();
    const plain = await listening(null);
    await expect(dial(plain.address, security(client))).rejects.toThrow(
      /closed by the peer|ECONNRESET/,
    );
    expect([accepted, plain.accepted.flatMap(({frames}) => frames)]).toEqual([[], []]);
  });
});

test('whose credential is taken back while he is connected is cut within two seconds; others are not', async () => {
  let revoked: string | null = null;
  const {address, accepted} = await listening(
    security(server, 'auth', (identity) => (identity.kind === 'client' ? revoked : null)),
  );
  const [one, other] = [
    await dial(address, security(client)),
    await dial(address, security(server)),
  ];
  for (const {got} of [one, other])
    got.connection.send(OPS.getattr.code, 0, 1, 0, pattern(3, 1), null);
  await until(() => accepted.every(({frames}) => frames.length === 1) && accepted.length === 2);
  expect([one.got.closed, other.got.closed]).toEqual([null, null]);
  revoked = 'the credential was revoked';
  await until(() => one.got.closed !== null);
  expect(accepted.map(({closed}) => closed)).toContain(revoked);
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  expect(other.got.closed).toBeNull();
});

describe('somebody in between', () => {
  test('asks for less than who listens was asked for, and answers less: both ends close', async () => {
    for (const from of ['client', 'server'] as const) {
      const {address, accepted, refused} = await listening(security(server, 'auth'));
      const way = await between(address, (bytes, by, count) => {
        // The level is the sixth byte of what each end says first.
        if (by === 'client' && count === 0) bytes[5] = 0;
        if (from === 'server' && by === 'server' && count === 0) bytes[5] = 2;
        return bytes;
      });
      await expect(dial(way, security(client, 'encrypt'))).rejects.toThrow();
      await until(() => refused.length === 1 || accepted.length === 0);
      expect(accepted.flatMap(({frames}) => frames)).toEqual([]);
    }
  });

  test('changes a byte of a frame, repeats a frame, or leaves one out: at integrity the connection closes before anybody hears of it', async () => {
    for (const how of ['change', 'repeat', 'omit'] as const) {
      const {address, accepted} = await listening(security(server));
      let frames = false;
      let sent = 0;
      const way = await between(address, (bytes, by) => {
        if (!frames || by === 'server') return bytes;
        sent++;
        if (sent !== 2) return bytes;
        if (how === 'omit') return Buffer.alloc(0);
        if (how === 'repeat') return Buffer.concat([bytes, bytes]);
        const copy = Buffer.from(bytes);
        // In the payload, of which the frame itself has no sum.
        copy[copy.length - 5]! ^= 1;
        return copy;
      });
      const one = await dial(way, security(client, 'integrity'));
      await until(() => accepted.length === 1);
      frames = true;
      for (let id = 1; id <= 4; id++) {
        write(one, id, 900);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await until(() => accepted[0]!.closed !== null);
      expect(accepted[0]!.closed).toBe('a frame is not as it was sent');
      expect(accepted[0]!.frames.map(({id}) => id)).toEqual(how === 'repeat' ? [1, 2] : [1]);
    }
  });

  test('plays the bytes of an earlier connection again: nothing of it is let in', async () => {
    const {address, accepted, refused} = await listening(security(server, 'integrity'));
    const said: Buffer[] = [];
    const way = await between(address, (bytes, by) => {
      if (by === 'client') said.push(Buffer.from(bytes));
      return bytes;
    });
    const one = await dial(way, security(client));
    write(one, 1, 100);
    await until(() => accepted[0]?.frames.length === 1);
    const [host, port] = address.split(':');
    const again = tcp(Number(port), host);
    ends.push(() => again.destroy());
    again.on('error', () => {});
    for (const bytes of said) {
      again.write(bytes);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await until(() => refused.length === 1);
    expect(accepted.length).toBe(1);
  });
});

describe('files of keys', () => {
  test('what is none says which line, and quotes no secret', () => {
    const secret = CLUSTER.split(' ')[2]!;
    for (const text of [
      '',
      '# nothing',
      `cluster xyz ${secret}`,
      `cluster 00112233 ${secret}x`,
      `client c1:00112233:e30 ${secret}`,
      `what 00112233 ${secret}`,
      `${CLUSTER}\n${CLUSTER}`,
    ]) {
      const caught = (() => {
        try {
          Keyring.parse(text);
          return '';
        } catch (error) {
          return (error as Error).message;
        }
      })();
      expect(caught).toMatch(/line \d|no key/);
      expect(caught).not.toContain(secret);
    }
  });

  test('a credential says whose it is, and makes none itself', () => {
    expect(identityOf(client.own.identity)).toEqual({kind: 'client', ...claims});
    expect(client.isServer).toBe(false);
    expect(() => client.issue(claims)).toThrow(/key of the cluster/);
    expect(() => server.issue({...claims, name: 'a b'})).toThrow();
  });
});
