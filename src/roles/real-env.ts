import {mkdirSync} from 'node:fs';
import {join} from 'node:path';
import {BufferPool, type PoolShape, poolBytes} from '../core/base/pool.js';
import {Traffic} from '../core/base/traffic.js';
import type {Env} from '../core/env/env.js';
import type {Kv} from '../core/env/kv.js';
import type {Log} from '../core/env/log.js';
import {systemClock} from '../core/os/clock.js';
import {IsalCodec} from '../core/os/codec-isal.js';
import {openBufferedDisk} from '../core/os/disk-buffered.js';
import {openDirectDisk} from '../core/os/disk-direct.js';
import {LmdbKv} from '../core/os/kv-lmdb.js';
import {jsonLog} from '../core/os/log-json.js';
import type {LogLevels} from '../core/os/log-levels.js';
import {LogOutput} from '../core/os/log-output.js';
import {TcpNet} from '../core/os/net-tcp.js';
import {systemRandom} from '../core/os/random.js';
import {SystemResolver} from '../core/os/resolver.js';
import {LOG_FILE} from './ready.js';
import {OWN_RELEASE} from './release.js';
import {nodeSecurity} from './security.js';

/** What a role without a state folder has. */
export type ClientEnv = Omit<Env, 'disk' | 'kv' | 'net'> & {net: TcpNet};

export function roleLog(role: string, id: string, levels: LogLevels): Log {
  const output = new LogOutput({descriptor: 2, path: process.env[LOG_FILE] ?? null});
  return jsonLog(levels, {role, id, pid: process.pid}, output);
}

export function clientEnv(log: Log, shape: PoolShape): ClientEnv {
  const codec = new IsalCodec();
  const pool = new BufferPool(codec.createMemory(poolBytes(shape)), shape);
  const net = new TcpNet(pool, log, new SystemResolver(systemClock), nodeSecurity());
  const traffic = new Traffic();
  const own = {traffic, release: OWN_RELEASE};
  return {clock: systemClock, random: systemRandom, codec, pool, log, net, ...own};
}

export interface ServerEnvOptions {
  /** With a key-value store. */
  store?: boolean;
  /** Large transfers go past the page cache. */
  direct?: boolean;
  /** Default: io_uring where the kernel has it. */
  io?: 'io_uring' | 'threads';
}

/** The environment of a server; its files lie under `state`. */
export async function serverEnv(
  log: Log,
  shape: PoolShape,
  state: string,
  {store = false, direct = false, io = 'io_uring'}: ServerEnvOptions,
): Promise<Env & ClientEnv & {io: string}> {
  mkdirSync(state, {recursive: true});
  const base = clientEnv(log, shape);
  const disk = (direct ? openDirectDisk : openBufferedDisk)(state, base.pool, io === 'io_uring');
  await disk.lock();
  const kv = store ? await LmdbKv.open(join(state, 'store')) : noKv;
  return {...base, disk, kv, io: direct ? `${disk.io} direct` : disk.io};
}

const noKv: Kv = {
  get: () => undefined,
  range: () => [],
  write: () => Promise.reject(new Error('this role has no key-value store')),
  clear: () => Promise.reject(new Error('this role has no key-value store')),
  view: () => ({range: () => [], close: () => {}}),
  close: () => Promise.resolve(),
};
