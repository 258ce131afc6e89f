import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {READ_COPY_POLICY, type ReadCopyPolicy} from '../cluster/read-copies.js';
import type {Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';
import type {
  ColumnRef,
  HeartbeatReply,
  HeartbeatRequest,
  ReadCopyOrder,
} from '../protocol/gen/wire.js';
import type {Column} from './column.js';
import type {ColumnStore} from './column-store.js';
import type {ColumnShape} from './format.js';
import {HotChunks} from './hot-chunks.js';
import type {Room} from './room.js';

const FOLDER = 'copies';
const ORDERS_MAX = 64;
/** Open files; of each copy one for each data column. */
const FILES_MAX = 512;
const LOOK_MS: Ms = 5_000;
/** With less of the disk free they go, the one that was not read for longest first. */
const FREE_SHARE_MIN = 0.08;
const TOLD_MAX = 256;

/** What makes read copies for this server; the copy agent (core/client/copy-agent.ts) of the same process does it. */
export interface ReadCopyMaker {
  /** Resolves when all of the chunk is in the sink, and the meta server tells of it. */
  make(
    order: ReadCopyOrder,
    sink: {
      write(
        shape: ColumnShape,
        range: {offset: number; length: number},
        memory: number,
        sums: Uint8Array,
      ): Promise<void>;
    },
  ): Promise<void>;
  /** There is nothing to do for a while. */
  rest(): void;
}

interface Copy {
  readonly id: number;
  readonly oid: number;
  readonly chunk: number;
  readonly columns: Map<number, {column: Column; path: string}>;
  bytes: number;
  readAt: Ms;
  /** Operations that have it; while there are any its files stay open. */
  users: number;
  dropped: boolean;
}

/**
 * Read copies on this server: data columns of chunks whose own servers are others, in files of their own that end with the process. They
 * are read by the id under which the meta server tells of them, for as long as nobody may write; they are no part of any redundancy, and
 * go when they are cold, when space is short, and when the meta server has forgotten them.
 */
export class ReadCopies {
  readonly hot = new HotChunks();
  readonly #env: Pick<Env, 'clock' | 'disk' | 'log' | 'pool'>;
  readonly #store: ColumnStore;
  readonly #room: Room;
  readonly #maker: ReadCopyMaker | null;
  /** The one that was not read for longest first. */
  readonly #copies = new Map<number, Copy>();
  readonly #orders: ReadCopyOrder[] = [];
  #policy: ReadCopyPolicy = READ_COPY_POLICY;
  #dropped: number[] = [];
  #bytes = 0;
  #files = 0;
  #making: Promise<void> | null = null;
  #boot: number | null = null;
  #timer: Timer | null = null;
  #closed = false;

  constructor(
    env: Pick<Env, 'clock' | 'disk' | 'log' | 'pool'>,
    parts: {store: ColumnStore; room: Room},
    maker: ReadCopyMaker | null,
  ) {
    this.#env = env;
    this.#store = parts.store;
    this.#room = parts.room;
    this.#maker = maker;
  }

  async start(): Promise<void> {
    await this.#env.disk.removeTree(FOLDER);
    this.#plan();
  }

  /** For the next heartbeat. `read`: bytes that clients got from copies since the start. */
  figures(read: number): Pick<HeartbeatRequest, 'hot' | 'copies'> {
    const dropped = this.#dropped.splice(0, TOLD_MAX);
    const copies = {count: this.#copies.size, bytes: this.#bytes, dropped, read};
    const hot = this.#policy.most > 0 ? this.hot.told(this.#policy.weight) : [];
    return {hot, copies};
  }

  ordered({make, unmake, readCopies}: HeartbeatReply): void {
    if (readCopies !== null) this.#policy = readCopies;
    for (const id of unmake) this.#drop(id);
    if (this.#maker === null || this.#closed) return;
    for (const order of make) if (this.#orders.length < ORDERS_MAX) this.#orders.push(order);
    if (this.#orders.length > 0)
      this.#making ??= this.#makeAll().finally(() => {
        this.#making = null;
      });
  }

  /** The meta server is of this life: what an earlier one told of, nobody knows any more. */
  restarted(boot: number): void {
    if (this.#boot !== null && this.#boot !== boot) {
      this.#orders.length = 0;
      for (const id of [...this.#copies.keys()]) this.#drop(id);
      this.#dropped = [];
    }
    this.#boot = boot;
  }

  /** Runs `work` with a column of a copy; null: it has no bytes. FsError ENOENT: there is no such copy here. */
  async use<T>(
    id: number,
    ref: Pick<ColumnRef, 'oid' | 'chunk' | 'column' | 'k'>,
    work: (column: Column) => Promise<T>,
  ): Promise<T | null> {
    const copy = this.#copies.get(id);
    const whole = copy !== undefined && ref.column < ref.k;
    if (!whole || copy.oid !== ref.oid || copy.chunk !== ref.chunk)
      throw new FsError('ENOENT', `read copy ${id} of object ${ref.oid} chunk ${ref.chunk}`);
    copy.readAt = this.#env.clock.now();
    this.#copies.delete(id);
    this.#copies.set(id, copy);
    const column = copy.columns.get(ref.column)?.column;
    if (column === undefined) return null;
    copy.users++;
    try {
      return await work(column);
    } finally {
      copy.users--;
      if (copy.dropped && copy.users === 0) this.#end(copy);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#orders.length = 0;
    await this.#making;
    for (const id of [...this.#copies.keys()]) this.#drop(id);
  }

  async #makeAll(): Promise<void> {
    for (let order = this.#orders.shift(); order !== undefined; order = this.#orders.shift())
      await this.#make(order);
    this.#maker?.rest();
  }

  async #make(order: ReadCopyOrder): Promise<void> {
    const {id, oid, chunk} = order;
    const readAt = this.#env.clock.now();
    const copy: Copy = {
      id,
      oid,
      chunk,
      columns: new Map(),
      bytes: 0,
      readAt,
      users: 1,
      dropped: false,
    };
    this.#copies.set(id, copy);
    try {
      await this.#maker!.make(order, {write: (...a) => this.#write(copy, ...a)});
    } catch (error) {
      this.#env.log.info('read-copy.failed', {oid, chunk, reason: messageOf(error)});
      this.#drop(id);
    } finally {
      copy.users--;
      if (copy.dropped && copy.users === 0) this.#end(copy);
    }
  }

  async #write(
    copy: Copy,
    shape: ColumnShape,
    range: {offset: number; length: number},
    memory: number,
    sums: Uint8Array,
  ): Promise<void> {
    if (copy.dropped || this.#closed) throw new FsError('ESTALE', `read copy ${copy.id}`);
    this.#trim(range.length);
    if (this.#over(range.length)) throw new FsError('ENOSPC', 'no room for read copies');
    await this.#room.take(range.length, false);
    let one = copy.columns.get(shape.column);
    if (one === undefined) {
      const {id: generation, oid, chunk} = copy;
      const path = `${FOLDER}/${generation.toString(16)}.${shape.column}`;
      this.#files++;
      const column = await this.#store.openApart(path, {oid, chunk, generation}, shape);
      one = {column, path};
      copy.columns.set(shape.column, one);
    }
    copy.bytes += range.length;
    this.#bytes += range.length;
    await one.column.write([range], memory, sums, new Uint8Array(0));
  }

  #over(more: number): boolean {
    const {totalBytes, freeBytes} = this.#room;
    return (
      this.#bytes + more > (totalBytes * this.#policy.share) / 1000 ||
      freeBytes - more < totalBytes * FREE_SHARE_MIN ||
      this.#files >= FILES_MAX
    );
  }

  /** Those that were not read for longest go, until there is room for so many bytes. */
  #trim(more: number): void {
    for (const copy of this.#copies.values()) {
      if (!this.#over(more)) return;
      if (copy.users === 0) this.#drop(copy.id);
    }
  }

  #plan(): void {
    if (this.#closed) return;
    this.#timer = this.#env.clock.timer(LOOK_MS, () => {
      this.#trim(0);
      const before = this.#env.clock.now() - this.#policy.coldS * 1000;
      const enough = this.#policy.most > 0 ? before : Number.POSITIVE_INFINITY;
      for (const {id, readAt, users} of [...this.#copies.values()])
        if (users === 0 && readAt <= enough) this.#drop(id);
      this.#plan();
    });
  }

  #drop(id: number): void {
    const copy = this.#copies.get(id);
    if (copy === undefined) return;
    this.#copies.delete(id);
    copy.dropped = true;
    // What is not told is found out by whoever tries to read it.
    if (this.#dropped.length < 4 * TOLD_MAX) this.#dropped.push(id);
    if (copy.users === 0) this.#end(copy);
  }

  #end({columns, bytes, id}: Copy): void {
    this.#bytes -= bytes;
    this.#files -= columns.size;
    for (const {column, path} of columns.values()) {
      column
        .close()
        .then(() => this.#env.disk.remove(path))
        .catch((error: unknown) => {
          this.#env.log.warn('read-copy.stays', {id, error: messageOf(error)});
        });
    }
    columns.clear();
  }
}
