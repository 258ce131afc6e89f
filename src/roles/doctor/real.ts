import {execFile} from 'node:child_process';
import {lookup} from 'node:dns/promises';
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fdatasyncSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs';
import {connect, createServer} from 'node:net';
import {hostname} from 'node:os';
import {dirname, join, resolve} from 'node:path';
import {parseAddress} from '../../core/base/address.js';
import {messageOf} from '../../core/base/errors.js';
import {BLOCK_BYTES, MIB} from '../../core/base/units.js';
import {DiskBatch} from '../../core/os/disk-batch.js';
import {mountEntries} from '../../core/os/mount-point.js';
import {OPS} from '../../core/protocol/ops.js';
import {withMeta} from '../admin.js';
import {findMetas} from '../find-metas.js';
import {engineSystem} from '../mount/engine.js';
import {RELEASE} from '../release.js';
import type {ClusterFacts, DiskFacts, DoctorSystem} from './system.js';

/** The machine that this runs on. */

const PROGRAM_MS = 3000;
const SYNCS = 9;
const PROBE = '.cpfs-doctor';

const textOf = (path: string): string | null => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
};

function opens(path: string): boolean {
  try {
    closeSync(openSync(path, 'r+'));
    return true;
  } catch {
    return false;
  }
}

function output(program: string, ...args: string[]): Promise<string | null> {
  return new Promise((done) => {
    const options = {timeout: PROGRAM_MS, env: {...process.env, LC_ALL: 'C'}};
    execFile(program, args, options, (error, stdout) => done(error === null ? stdout : null));
  });
}

function connects(address: string, timeoutMs: number): Promise<string | null> {
  const {host, port} = parseAddress(address)!;
  return new Promise((done) => {
    const socket = connect({host, port});
    const end = (why: string | null) => {
      clearTimeout(late);
      socket.destroy();
      done(why);
    };
    const late = setTimeout(() => end(`no answer in ${timeoutMs / 1000} s`), timeoutMs);
    socket.once('connect', () => end(null));
    socket.once('error', (error) => end((error as NodeJS.ErrnoException).code ?? messageOf(error)));
  });
}

function listens(address: string): Promise<string | null> {
  const {host, port} = parseAddress(address)!;
  return new Promise((done) => {
    const server = createServer();
    server.once('error', (error) =>
      done((error as NodeJS.ErrnoException).code ?? messageOf(error)),
    );
    server.listen({host, port, exclusive: true}, () => server.close(() => done(null)));
  });
}

async function cluster(names: string, timeoutMs: number): Promise<ClusterFacts> {
  return withMeta(names, timeoutMs, async (peer) => {
    const begun = performance.now();
    const {message} = await peer.call(OPS.status, {}, {deadlineMs: timeoutMs});
    const doubtMs = (performance.now() - begun) / 2;
    const {release, wallMs} = message;
    return {release, skewMs: wallMs === 0 ? null : wallMs + doubtMs - Date.now(), doubtMs};
  });
}

/** The folder, or the nearest one above it that is there. */
function nearest(folder: string): string {
  let at = resolve(folder);
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at);
  return realpathSync(at);
}

/** What the kernel says of the cache of the device below a folder; a partition has that of its disk. */
function cacheOf(folder: string): string {
  const {dev} = statSync(folder);
  // As makedev(3) has them.
  const major = (dev >>> 8) & 0xfff;
  const minor = (dev & 0xff) | ((dev >>> 12) & 0xfff00);
  const at = `/sys/dev/block/${major}:${minor}`;
  const text = textOf(`${at}/queue/write_cache`) ?? textOf(`${at}/../queue/write_cache`);
  return text?.trim() ?? '';
}

/** Median of a few writes of one block, each synced. */
function syncTime(path: string): number {
  const fd = openSync(path, 'w', 0o600);
  try {
    const block = Buffer.alloc(BLOCK_BYTES, 1);
    const times: number[] = [];
    for (let i = 0; i < SYNCS; i++) {
      const begun = performance.now();
      writeSync(fd, block, 0, block.length, i * block.length);
      fdatasyncSync(fd);
      times.push(performance.now() - begun);
    }
    return times.sort((a, b) => a - b)[SYNCS >> 1]!;
  } finally {
    closeSync(fd);
  }
}

function directPossible(path: string): boolean {
  const {O_RDWR, O_CREAT, O_DIRECT} = constants;
  try {
    closeSync(openSync(path, O_RDWR | O_CREAT | O_DIRECT, 0o600));
    return true;
  } catch {
    return false;
  }
}

async function disk(wanted: string): Promise<DiskFacts> {
  const folder = nearest(wanted);
  const above = (await mountEntries())
    .filter(({dir}) => folder === dir || folder.startsWith(dir === '/' ? '/' : `${dir}/`))
    .sort((a, b) => a.dir.length - b.dir.length)
    .at(-1);
  const line = (textOf('/proc/self/mounts') ?? '')
    .split('\n')
    .findLast((text) => text.split(' ')[1] === above?.dir.replaceAll(' ', '\\040'));
  const {bsize, blocks, bavail} = statfsSync(folder);
  let writable = true;
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch {
    writable = false;
  }
  const path = join(folder, `${PROBE}.${process.pid}`);
  try {
    return {
      folder,
      there: existsSync(wanted),
      type: above?.type ?? '',
      options: line?.split(' ')[3]?.split(',') ?? [],
      totalBytes: bsize * blocks,
      freeBytes: bsize * bavail,
      writable,
      direct: writable ? directPossible(path) : null,
      syncMs: writable ? syncTime(path) : null,
      cache: cacheOf(folder),
    };
  } finally {
    rmSync(path, {force: true});
  }
}

function ring(): boolean {
  try {
    return new DiskBatch(new ArrayBuffer(MIB), {ring: true}).ring;
  } catch {
    return false;
  }
}

export function doctorSystem(timeoutMs: number): DoctorSystem {
  return {
    ...engineSystem(),
    hostname: hostname(),
    ownRelease: RELEASE,
    text: textOf,
    opens,
    output,
    resolve: async (host) => (await lookup(host, {all: true})).map(({address}) => address),
    metas: (names) => findMetas(names, timeoutMs),
    connects: (address) => connects(address, timeoutMs),
    listens,
    cluster: (names) => cluster(names, timeoutMs),
    disk,
    ring,
  };
}
