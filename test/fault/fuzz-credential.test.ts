// Goal: a credential that may read and write files lets nobody end a server, fill its memory or disturb others (C100, U60). Method: real processes with keys; requests with fields that no
// program of ours sends, bytes at random and connections that say nothing, all at once, while the mount is used.
import {mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {open, readFile} from 'node:fs/promises';
import {connect, type Socket} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {silentLog} from '../../src/core/env/log.js';
import {systemClock} from '../../src/core/os/clock.js';
import {Keyring} from '../../src/core/os/keyring.js';
import {TcpNet} from '../../src/core/os/net-tcp.js';
import {OPS, PROTOCOL_VERSION} from '../../src/core/protocol/ops.js';
import {Handlers} from '../../src/core/transport/handlers.js';
import {Peer} from '../../src/core/transport/peer.js';
import {identify} from '../../src/roles/process.js';
import {adminPort} from '../support/admin-port.js';
import {cpfs, DevCluster} from '../support/dev-cluster.js';
import {makePool, pattern, seeded} from '../support/frames.js';
import {
  dataSamples,
  fuzzRequests,
  metaSamples,
  type RequestFuzzed,
} from '../support/fuzz-requests.js';

const MINUTES = 60_000;
const ATTACK_MS = 8_000;
/** A server that has been fuzzed for some seconds has at most so much more than before. */
const GROWTH_BYTES = 300 << 20;
const seed = Number(process.env.FUZZ_SEED ?? 1_234);
const folder = mkdtempSync(join(tmpdir(), 'cpfs-test-'));
const cluster = DevCluster.create();

beforeAll(async () => {
  process.env.CPFS_KEYS = join(folder, 'keys');
  expect((await cpfs('init')).code).toBe(0);
  const config = join(cluster.state, 'config');
  mkdirSync(config, {recursive: true});
  const admin = ['meta', 'data', 'mount'].map((role) => `[${role}]\nadmin = ":0"\n`);
  writeFileSync(join(config, 'cpfs.toml'), admin.join(''));
  await cluster.start('--servers', '3', '--scheme', '2+1');
}, MINUTES);
afterAll(async () => {
  await cluster.down();
  delete process.env.CPFS_KEYS;
  rmSync(folder, {recursive: true, force: true});
}, MINUTES);

const rss = (pid: number): number =>
  1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);

function dial(address: string, say: Buffer | null): Socket {
  const [host, port] = address.split(':');
  const socket = connect(Number(port), host, () => say !== null && socket.write(say));
  return socket.on('error', () => {}).resume();
}

test(
  `servers and mounts go on (seed ${seed})`,
  async () => {
    const {dev, mount} = cluster;
    const [server] = (await cluster.status()).servers;
    const issued = await cpfs('auth', 'create', 'attacker', '--rights', 'rw');
    const keys = Keyring.parse(issued.stdout);
    const pool = makePool({small: 64, medium: 64, large: 16});
    const net = new TcpNet(pool, silentLog, null, {keys, floor: 'auth', refusal: () => null});
    const env = {net, pool, clock: systemClock};
    const versions = {versionMin: PROTOCOL_VERSION, versionMax: PROTOCOL_VERSION};
    const own = new Peer({...env, log: silentLog}, await net.connect(cluster.meta, 5_000));
    // It gives back what others want; who does not has them wait for as long as docs/security.md says.
    const giveBack = new Handlers<null>().on(OPS.recall, ({oid, keep}) => {
      own.call(OPS.yieldLease, {oid, keep}).catch(() => {});
      return {message: {}};
    });
    own.serve(giveBack, null);
    const {session} = await own.hello({...versions, role: 'client', name: 'own', unleased: true});
    const beat = setInterval(() => own.call(OPS.heartbeat, {}).catch(() => {}), 2_000);
    const {map} = (await own.call(OPS.getMap, {})).message;
    const caller = {uid: 1, gid: 1};
    const made = {name: Buffer.from('attackers'), caller, open: true};
    const folder = (await own.call(OPS.mkdir, {...made, parent: 1, mode: 0o40755})).message.attr!;
    const request = {...made, parent: folder.oid, mode: 0o100644};
    const {attr} = (await own.call(OPS.create, request)).message;
    mkdirSync(join(mount, 'honest'));
    writeFileSync(join(mount, 'honest', 'first'), 'first');
    const processes = [...dev.meta, ...dev.data, ...dev.mounts];
    const before = dev.meta.concat(dev.data).map(({pid}) => rss(pid));

    const until = performance.now() + ATTACK_MS;
    const below = seeded(seed);
    const ports = [cluster.meta, ...dev.data.map(({address}) => address)];
    const watched = ['meta1', 'data1', 'mount'].map((log) => adminPort(cluster, log));
    const garbage = async (): Promise<void> => {
      const sockets: Socket[] = [];
      while (performance.now() < until) {
        const address = [...ports, ...watched][below(ports.length + watched.length)]!;
        sockets.push(
          dial(address, below(3) === 0 ? null : Buffer.from(pattern(1 + below(300), below(99)))),
        );
        if (sockets.length > 600) sockets.shift()!.destroy();
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      for (const socket of sockets) socket.destroy();
    };
    const asks = async (fuzz: {
      address: string;
      hello: object;
      samples: ReturnType<typeof metaSamples>;
    }): Promise<RequestFuzzed> => {
      const all = {sent: 0, connections: 0, answered: 0, done: 0};
      while (performance.now() < until) {
        const one = await fuzzRequests({...fuzz, env, below, requests: 100, waitMs: 300});
        for (const key of Object.keys(all) as (keyof RequestFuzzed)[]) all[key] += one[key];
      }
      return all;
    };
    const uses = async (): Promise<number> => {
      let rounds = 0;
      for (; performance.now() < until || rounds === 0; rounds++) {
        const bytes = pattern(1 << 20, rounds);
        const path = join(mount, 'honest', `used-${rounds % 3}`);
        const file = await open(path, 'w');
        await file.write(bytes);
        await file.sync();
        await file.close();
        if (Buffer.compare(await readFile(path), bytes) !== 0) throw new Error(`${path} is wrong`);
      }
      return rounds;
    };
    const [meta, data, rounds] = await Promise.all([
      asks({
        address: cluster.meta,
        hello: {role: 'client', name: 'fuzz', unleased: true},
        samples: metaSamples(folder.oid, attr.oid),
      }),
      asks({
        address: server!.address,
        hello: {role: 'client', session, server: server!.uuid},
        samples: dataSamples(2 ** 40, map.epoch),
      }),
      uses(),
      garbage(),
    ]);
    clearInterval(beat);
    own.close('done');
    // How many is the machine's matter; that each gets somewhere is ours.
    expect(Math.min(meta.done, data.done, rounds)).toBeGreaterThan(0);
    for (const {pid, startTicks} of processes) expect(identify(pid).startTicks).toBe(startTicks);
    const after = dev.meta.concat(dev.data).map(({pid}) => rss(pid));
    for (const [index, bytes] of after.entries())
      expect(bytes - before[index]!).toBeLessThan(GROWTH_BYTES);
    await cluster.until('ready', 20_000);
    for (const file of readdirSync(join(cluster.state, 'log'))) {
      const log = readFileSync(join(cluster.state, 'log', file), 'utf8');
      const bad = log
        .split('\n')
        .filter((line) =>
          /"(handler\.failed|meta\.failed|data\.failed|reply\.too-long|process\.bug)"|TypeError|RangeError/.test(
            line,
          ),
        );
      expect([file, bad]).toEqual([file, []]);
    }
  },
  MINUTES,
);
