import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {FsError} from '../../src/core/base/errors.js';
import {BufferPool, poolBytes, type Segment} from '../../src/core/base/pool.js';
import {type ClusterMap, GROUP, SLOT, type SlotState} from '../../src/core/cluster/map.js';
import {Backtraces} from '../../src/core/data/backtraces.js';
import {ChangeWatch} from '../../src/core/data/change-watch.js';
import {ChunkLog} from '../../src/core/data/chunk-log.js';
import {ColumnStore} from '../../src/core/data/column-store.js';
import {Gate} from '../../src/core/data/gate.js';
import {Intents} from '../../src/core/data/intents.js';
import {Life} from '../../src/core/data/life.js';
import {Load} from '../../src/core/data/load.js';
import {type DataContext, NO_STATS} from '../../src/core/data/ops/context.js';
import {ReadCopies} from '../../src/core/data/read-copies.js';
import {Room} from '../../src/core/data/room.js';
import {storedSums} from '../../src/core/data/sums.js';
import type {Codec} from '../../src/core/env/codec.js';
import type {Disk, DiskFile, DiskRange, Journal} from '../../src/core/env/disk.js';
import {silentLog} from '../../src/core/env/log.js';
import {IsalCodec} from '../../src/core/os/codec-isal.js';
import {openBufferedDisk} from '../../src/core/os/disk-buffered.js';
import type {ColumnRef, Range} from '../../src/core/protocol/gen/wire.js';
import {SeededRandom} from '../../src/core/sim/random.js';
import {ManualClock} from './manual-clock.js';

/**
 * A disk that writes down what it is asked, and fails when it is told to. Before a step of a write fails the steps before it
 * have been carried out, as the interface says.
 */
export class WatchedDisk implements Disk {
  readonly inner: Disk;
  readonly calls: string[] = [];
  /** Called before each step; throws to make it fail. */
  before: (step: string, range?: DiskRange) => void = () => {};

  constructor(inner: Disk) {
    this.inner = inner;
  }

  note(step: string, range?: DiskRange): void {
    this.before(step, range);
    this.calls.push(step);
  }

  async open(path: string, create: boolean): Promise<DiskFile> {
    this.note(`open ${path}`);
    return new WatchedFile(this, await this.inner.open(path, create));
  }

  async journal(path: string): Promise<Journal> {
    const inner = await this.inner.journal(path);
    const note = (step: string): void => this.note(`${step} ${path}`);
    return {
      get size() {
        return inner.size;
      },
      append: (bytes) => {
        note('append');
        inner.append(bytes);
      },
      sync: async () => {
        note('sync');
        await inner.sync();
        this.calls.push(`synced ${path}`);
      },
      read: () => inner.read(),
      truncate: (size) => inner.truncate(size),
      close: () => inner.close(),
    };
  }

  readFile = (path: string): Promise<Uint8Array | null> => this.inner.readFile(path);
  list = (path: string): Promise<string[]> => this.inner.list(path);
  space = () => this.inner.space();
  machineLife = () => this.inner.machineLife();
  removeTree = (path: string): Promise<void> => this.inner.removeTree(path);
  lock = (): Promise<void> => this.inner.lock();
  close = (): Promise<void> => this.inner.close();

  async writeFile(path: string, bytes: Uint8Array): Promise<void> {
    this.note(`writeFile ${path}`);
    await this.inner.writeFile(path, bytes);
  }

  async remove(path: string): Promise<boolean> {
    this.note(`remove ${path}`);
    return this.inner.remove(path);
  }

  async syncAll(): Promise<void> {
    this.note('syncAll');
    await this.inner.syncAll();
  }
}

class WatchedFile implements DiskFile {
  readonly #disk: WatchedDisk;
  readonly #inner: DiskFile;

  constructor(disk: WatchedDisk, inner: DiskFile) {
    this.#disk = disk;
    this.#inner = inner;
  }

  async read(ranges: readonly DiskRange[]): Promise<void> {
    for (const range of ranges) this.#disk.before('read', range);
    await this.#inner.read(ranges);
  }

  async write(ranges: readonly DiskRange[]): Promise<void> {
    for (const range of ranges) {
      this.#disk.note('write', range);
      await this.#inner.write([range]);
    }
  }

  async punch(offset: number, length: number): Promise<void> {
    this.#disk.note('punch');
    await this.#inner.punch(offset, length);
  }

  async truncate(size: number): Promise<void> {
    this.#disk.note('truncate');
    await this.#inner.truncate(size);
  }

  async sync(): Promise<void> {
    this.#disk.note('fsync');
    await this.#inner.sync();
  }

  size = (): Promise<number> => this.#inner.size();
  allocated = (): Promise<number> => this.#inner.allocated();
  close = (): Promise<void> => this.#inner.close();
}

export const noSpace = (): never => {
  throw new FsError('ENOSPC', 'by the test');
};

export const MAP_EPOCH = 7;
export const SESSION = 11;
export const FENCED = 12;

/** A group of five in which `me` has slot 0; states of all slots as letters: e, R, a, c. */
export function mapOf(states: string, epoch = MAP_EPOCH, fenced: number[] = [FENCED]): ClusterMap {
  const slots = [...states].map((letter, index) => ({
    state: 'eRac'.indexOf(letter) as SlotState,
    stale: letter === 'a',
    server: {
      uuid: index === 0 ? 'me' : `other${index}`,
      address: `d${index}:1`,
      totalBytes: 0,
      freeBytes: 0,
      badBlocks: 0,
      io: '',
      connected: 'eRac'.indexOf(letter) !== SLOT.away,
    },
  }));
  return {cluster: 'c', epoch, fenced, groups: [{id: 1, state: GROUP.ready, slots}]};
}

const SHAPE = {small: 64, medium: 32, large: 8};
const codec = new IsalCodec();
const pool = new BufferPool(codec.createMemory(poolBytes(SHAPE)), SHAPE);

/** The operations of a data server over a folder of their own, without network. */
export class DataBench {
  readonly folder: string;
  readonly codec: Codec = codec;
  readonly pool = pool;
  readonly failures: unknown[] = [];
  readonly clock = new ManualClock();
  disk!: WatchedDisk;
  context!: DataContext;
  intentLog!: ChunkLog;
  #room!: Room;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async open(states = 'RRRRR', reserveBytes = 0): Promise<DataBench> {
    const bench = new DataBench(mkdtempSync(join(tmpdir(), 'cpfs-data-')));
    await bench.start(states, reserveBytes);
    return bench;
  }

  /** A new life on the same folder. */
  async start(states = 'RRRRR', reserveBytes = 0): Promise<void> {
    this.disk = new WatchedDisk(openBufferedDisk(this.folder, pool));
    const env = {disk: this.disk, pool, codec, log: silentLog, clock: this.clock};
    const failed = (error: unknown): void => void this.failures.push(error);
    const store = new ColumnStore(this.disk, pool);
    const gate = new Gate('me');
    await gate.obey(mapOf(states), async () => {});
    this.intentLog = await ChunkLog.open(this.disk, 'logs/intents', failed);
    this.#room = new Room(env, reserveBytes);
    await this.#room.start();
    const random = new SeededRandom(1);
    const life = await Life.begin({...env, disk: this.disk.inner, random});
    const stats = {...NO_STATS};
    this.context = {
      env,
      store,
      backtraces: new Backtraces(env),
      copies: new ReadCopies(env, {store, room: this.#room}, null),
      stats,
      load: new Load(this.clock),
      agent: false,
      gate,
      failed,
      intents: new Intents(this.intentLog, store),
      changes: new ChangeWatch(),
      missed: await ChunkLog.open(this.disk, 'logs/missed', failed),
      room: this.#room,
      life,
      whole: () => true,
      session: SESSION,
    };
  }

  /** Ends the life; the folder stays. */
  async end(): Promise<void> {
    this.#room.close();
    await this.context.store.close();
    await this.intentLog.close();
    await this.context.missed.close();
    await this.disk.close();
  }

  async close(): Promise<void> {
    await this.end();
    rmSync(this.folder, {recursive: true});
    if (pool.used !== 0) throw new Error(`${pool.used} slots of the pool have leaked`);
  }

  ref(oid: number, chunk = 0, column = 0, epoch = MAP_EPOCH): ColumnRef {
    return {oid, chunk, generation: 0, column, k: 4, m: 1, unitBytes: 65_536, epoch, repair: false};
  }

  /** A payload of the bytes, owned by whoever it is given to. */
  payload(bytes: Uint8Array): Segment {
    const slot = pool.alloc(bytes.length);
    const offset = pool.payload(slot);
    pool.bytes.set(bytes, offset);
    return {slot, offset, length: bytes.length};
  }

  sums(bytes: Uint8Array): Uint8Array {
    const {slot, offset} = this.payload(bytes);
    const sums = storedSums(codec, pool.memory, offset, bytes.length);
    pool.release(slot);
    return new Uint8Array(sums.buffer);
  }

  /** A request to write these bytes, which fill the ranges. */
  writing(ref: ColumnRef, ranges: Range[], bytes: Uint8Array) {
    const covered = new Uint8Array(ref.column < ref.k ? 0 : (bytes.length / 4096) * 4 * ref.k);
    // Of each byte its place, so that one in the wrong place shows.
    for (let i = 0; i < covered.length; i++) covered[i] = i % 251;
    return {ref, ranges, sums: this.sums(bytes), covered, lost: false, sync: false};
  }
}
