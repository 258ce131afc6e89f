// Goal: what is read much is read from copies too, which are never old and never in the way, and whose space comes back. Method: real processes and
// mounts; programs that read all the time and know what they must see.
import {constants, readdirSync, readlinkSync, writeFileSync} from 'node:fs';
import {type FileHandle, open} from 'node:fs/promises';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {KIB, MIB} from '../../src/core/base/units.js';
import type {ReadCopiesReply} from '../../src/roles/copies.js';
import type {DevServer} from '../../src/roles/dev/state.js';
import {layoutGet} from '../../src/roles/layout.js';
import {cpfs, DevCluster} from '../support/dev-cluster.js';

const MINUTE = 60_000;
const SIZE = 4 * MIB;
const BLOCK = 4 * KIB;
const READ = 512 * KIB;
/** For reading only: whoever may write has the lease for that. */
const DIRECT = constants.O_RDONLY | constants.O_DIRECT;
const PATIENCE_MS = 30_000;

let cluster: DevCluster;
let path: string;
let writer: FileHandle;
const readers: Reader[] = [];

/** Each block has its number, and that of the write that it is of; so whoever reads it knows how old it is. */
class Model {
  readonly #sent = new Uint32Array(SIZE / BLOCK);
  /** Of the newest write of each block that has returned. */
  readonly done = new Uint32Array(SIZE / BLOCK);

  async write(file: FileHandle, from: number, length: number): Promise<void> {
    const bytes = Buffer.alloc(length);
    for (let at = 0; at < length; at += BLOCK) {
      const block = (from + at) / BLOCK;
      this.#sent[block]! += 1;
      for (let i = 0; i < BLOCK; i += 8) {
        bytes.writeUInt32LE(block, at + i);
        bytes.writeUInt32LE(this.#sent[block]!, at + i + 4);
      }
    }
    await file.write(bytes, 0, length, from);
    for (let block = from / BLOCK; block < (from + length) / BLOCK; block++)
      this.done[block] = this.#sent[block]!;
  }

  /** What is wrong with bytes that were read when `least` had been written; null: nothing. */
  wrong(bytes: Buffer, from: number, least: Uint32Array): string | null {
    for (let at = 0; at < bytes.length; at += 8) {
      const block = Math.floor((from + at) / BLOCK);
      const [of, version] = [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4)];
      if (of !== block) return `at ${from + at} is block ${of}`;
      if (version < least[block]! || version > this.#sent[block]!)
        return `at ${from + at} is version ${version}, not ${least[block]} to ${this.#sent[block]}`;
    }
    return null;
  }
}
const model = new Model();

/** A program that reads the file over and over, through a handle past which the kernel keeps nothing. */
class Reader {
  readonly #file: FileHandle;
  readonly #ended: Promise<void>;
  #on = true;
  #stopped = false;
  rounds = 0;
  msMax = 0;

  constructor(file: FileHandle) {
    this.#file = file;
    this.#ended = this.#run();
    this.#ended.catch(() => {});
  }

  rest(on: boolean): void {
    this.#on = !on;
  }

  /** Rejects with what it has seen that was wrong. */
  async end(): Promise<void> {
    this.#stopped = true;
    await this.#ended;
    await this.#file.close();
  }

  async once(at: number): Promise<void> {
    const least = model.done.slice();
    const bytes = Buffer.alloc(READ);
    const start = performance.now();
    const {bytesRead} = await this.#file.read(bytes, 0, READ, at);
    this.msMax = Math.max(this.msMax, performance.now() - start);
    const wrong = bytesRead === READ ? model.wrong(bytes, at, least) : `${bytesRead} bytes`;
    if (wrong !== null) throw new Error(wrong);
  }

  async #run(): Promise<void> {
    for (let at = 0; !this.#stopped; at = (at + READ) % SIZE) {
      await delay(this.#on ? 15 : 200);
      if (!this.#on) continue;
      await this.once(at);
      this.rounds++;
    }
  }
}

beforeAll(async () => {
  cluster = await DevCluster.up('--servers', '4', '--scheme', '2+1');
  const other = await cluster.mountAgain('other', 'readahead=0');
  path = join(cluster.mount, 'hot');
  writer = await open(path, 'w+');
  await model.write(writer, 0, SIZE);
  await writer.sync();
  await policy('--min-read', '2MiB', '--for', '2s', '--most', '1', '--cold', '5s', '--share', '50');
  for (let i = 0; i < 2; i++) readers.push(new Reader(await open(join(other, 'hot'), DIRECT)));
}, 120_000);
afterAll(async () => {
  try {
    for (const reader of readers) await reader.end().catch(() => {});
    await writer?.close();
  } finally {
    await cluster?.down();
  }
}, 60_000);

async function policy(...flags: string[]): Promise<void> {
  const ran = await cpfs('copies', 'set', '--meta', cluster.meta, ...flags);
  expect([ran.code, ran.stderr]).toEqual([0, '']);
}

async function status(): Promise<ReadCopiesReply['servers']> {
  const ran = await cpfs('copies', 'status', '--meta', cluster.meta, '-o', 'json');
  return (JSON.parse(ran.stdout) as ReadCopiesReply).servers;
}

/** The server that has a copy; null: none has one. */
async function holder(): Promise<DevServer | null> {
  const [copy] = (await layoutGet(path)).readCopies;
  if (copy === undefined) return null;
  const {groups} = await cluster.status();
  const {address} = groups[0]!.slots[copy.slot]!;
  return cluster.dev.data.find((one) => one.address === address)!;
}

async function until<T>(what: string, look: () => Promise<T | null>): Promise<T> {
  for (const end = performance.now() + PATIENCE_MS; performance.now() < end; await delay(200)) {
    const found = await look();
    if (found !== null) return found;
  }
  throw new Error(`not ${what} after ${PATIENCE_MS} ms`);
}

const aCopy = (): Promise<DevServer> => until('a copy', holder);
const noCopy = (): Promise<boolean> =>
  until('without a copy', async () => ((await holder()) === null ? true : null));

const files = ({folder}: DevServer): string[] => readdirSync(join(folder, 'copies'));
/** Files that have no name any more, but whose space a process has. */
const heldOpen = ({pid}: DevServer): string[] =>
  readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return /\/copies\/.* \(deleted\)$/.test(readlinkSync(`/proc/${pid}/fd/${fd}`));
    } catch {
      return false;
    }
  });

/** Nothing of a copy takes space on the server. */
const spaceIsBack = (server: DevServer): Promise<boolean> =>
  until('without files of copies', async () =>
    files(server).length + heldOpen(server).length === 0 ? true : null,
  );

/** Bytes that clients have got from copies on this server, when all of its heartbeats have said so. */
async function readFrom(server: DevServer): Promise<number> {
  return (await status()).find(({address}) => address === server.address)!.read;
}

async function growing(server: DevServer): Promise<void> {
  const before = await readFrom(server);
  await until('read from the copy', async () =>
    (await readFrom(server)) >= before + SIZE ? true : null,
  );
}

describe('fault: read copies', () => {
  test(
    'what two programs read much is read from a copy; a write is seen at once, by who read it there, and again from the next copy',
    async () => {
      for (let turn = 0; turn < 2; turn++) {
        const server = await aCopy();
        expect(files(server)).toHaveLength(2);
        await growing(server);
        // Each is looked for at once, while both programs go on.
        for (let i = 0; i < 40; i++) {
          const at = ((i * 7) % (SIZE / READ)) * READ;
          await model.write(writer, at + (i % 3) * BLOCK, (1 + (i % 5)) * BLOCK);
          await readers[i % 2]!.once(at);
        }
        await noCopy();
        await spaceIsBack(server);
      }
    },
    3 * MINUTE,
  );

  test(
    'the server with the copy is killed: nobody hears of it, and it has nothing of it when it comes back',
    async () => {
      const server = await aCopy();
      await growing(server);
      for (const reader of readers) reader.msMax = 0;
      process.kill(server.pid, 'SIGKILL');
      await cluster.until('degraded', 10_000);
      const rounds = readers.map((reader) => reader.rounds);
      await model.write(writer, 0, READ);
      await until('read on', async () =>
        readers.every((reader, i) => reader.rounds > rounds[i]! + 20) ? true : null,
      );
      for (const {msMax} of readers) expect(msMax).toBeLessThan(10_000);
      await cluster.do('start', 'data', String(server.index));
      await cluster.until('ready', MINUTE);
      const next = await aCopy();
      const known = next.index === server.index ? 2 : 0;
      expect(files(server)).toHaveLength(known);
    },
    3 * MINUTE,
  );

  test(
    'one that nobody reads goes, and so does one that nobody is to have; their space is back',
    async () => {
      for (const end of ['cold', 'off']) {
        const server = await aCopy();
        const {bytes, count} = (await until('told', async () => {
          const one = (await status()).find(({address}) => address === server.address)!;
          return one.count === 1 ? one : null;
        }))!;
        expect([count, bytes]).toEqual([1, SIZE]);
        if (end === 'cold') for (const reader of readers) reader.rest(true);
        else await policy('--most', '0');
        await noCopy();
        await spaceIsBack(server);
        await until('told', async () =>
          (await status()).every((one) => one.count === 0 && one.bytes === 0) ? true : null,
        );
        for (const reader of readers) reader.rest(false);
      }
      for (const reader of readers.splice(0)) {
        await reader.end();
        expect(reader.rounds).toBeGreaterThan(100);
      }
      writeFileSync('/proc/sys/vm/drop_caches', '3');
      const ran = await cpfs('check', '--meta', cluster.meta, '-o', 'json');
      expect(JSON.parse(ran.stdout)).toMatchObject({found: 0, unlooked: [], exit: 0});
    },
    3 * MINUTE,
  );
});
