import {FsError, Lost, messageOf, Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Segment} from '../base/pool.js';
import {BLOCK_BYTES, MIB} from '../base/units.js';
import {sleep} from '../env/clock.js';
import type {Env} from '../env/env.js';
import type {ExportReply} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {Peer} from '../transport/peer.js';
import {Redial} from '../transport/redial.js';
import type {ColumnStore} from './column-store.js';
import {type ColumnId, nameOf} from './format.js';
import {EXPORT_BYTES_MAX} from './ops/export.js';
import type {Room} from './room.js';
import {allZero, runs, storedSums} from './sums.js';

/** With so few chunks left to copy the slot is taken over. */
const FEW = 64;
/** Passes, each over what changed during the one before; a server that is written all the time is taken over after the last. */
const PASSES_MAX = 8;
const AGAIN_MS: Ms = 2_000;
const CONNECT_MS: Ms = 5_000;
/** The last changes are asked for so long; then everything is made from the others. */
const FINISH_MS: Ms = 10_000;
/** The rest of the server's strength belongs to programs. */
const BYTES_PER_S = 100 * MIB;
const PACE_MS: Ms = 10;

export interface TakeOverParts {
  env: Pick<Env, 'clock' | 'codec' | 'disk' | 'log' | 'net' | 'pool' | 'random' | 'release'>;
  store: ColumnStore;
  room: Room;
  /** Own uuid, and the cluster's id. */
  uuid: string;
  cluster: string;
  /** Tells the meta server that all is copied; StaleEpoch: not now. */
  copied(server: string): Promise<void>;
  /** How many chunks are left. */
  progress(left: number): void;
}

/**
 * Copies all columns of a server that is to be drained, in passes: everything, then what changed meanwhile, until little is left. Then the meta
 * server takes that server out, and this one makes the rest from the others, as after any absence. Nothing is relied upon that was not heard
 * from that server to its end: if anything is missing at the end, everything is made from the others.
 */
export class TakeOver {
  readonly server: string;
  readonly #parts: TakeOverParts;
  readonly #redial: Redial;
  #pass = 0;
  /** Columns that were bad there, or could not be read: to be made from the others. */
  readonly #suspects = new Map<string, ColumnId>();
  #complete = false;
  #owedMs: Ms = 0;
  /** When the meta server agreed that all is copied; null: it has not. */
  #agreedAt: Ms | null = null;
  #closed = false;

  constructor(parts: TakeOverParts, server: {uuid: string; address: string}) {
    this.#parts = parts;
    this.server = server.uuid;
    this.#redial = new Redial(parts.env, {
      address: server.address,
      hello: (peer) => this.#hello(peer),
    });
    void this.#run();
  }

  /** The meta server has agreed that all is copied, so long ago; null: it has not. */
  get agreedMs(): Ms | null {
    return this.#agreedAt === null ? null : this.#parts.env.clock.now() - this.#agreedAt;
  }

  close(): void {
    this.#closed = true;
    this.#redial.close('nothing is copied any more');
  }

  /** The slot is ours now: which chunks are to be made from the others; null: all of them. */
  async finish(): Promise<ColumnId[] | null> {
    this.#closed = true;
    const {log, clock} = this.#parts.env;
    try {
      if (!this.#complete) return null;
      const until = clock.now() + FINISH_MS;
      for (;;) {
        try {
          const last = await this.#changed(this.#pass + 1);
          if (last === null) return null;
          return [...new Map([...this.#suspects, ...byName(last)]).values()];
        } catch (error) {
          if (clock.now() > until) throw error;
          await sleep(clock, AGAIN_MS / 4);
        }
      }
    } catch (error) {
      log.warn('copy.incomplete', {server: this.server, reason: messageOf(error)});
      return null;
    } finally {
      this.#redial.close('the slot was taken over');
    }
  }

  async #hello(peer: Peer): Promise<void> {
    await peer.hello({
      role: 'data',
      cluster: this.#parts.cluster,
      server: this.server,
      name: `data:${this.#parts.uuid}`,
    });
  }

  async #run(): Promise<void> {
    const {log, clock} = this.#parts.env;
    log.info('copy.started', {server: this.server});
    while (!this.#closed) {
      try {
        await this.#copyAll();
        await this.#handOver();
        return;
      } catch (error) {
        if (this.#closed) return;
        log.info('copy.again', {server: this.server, reason: messageOf(error)});
        await sleep(clock, AGAIN_MS);
      }
    }
  }

  /** Everything, unless that was done; what changes later is heard of in passes. */
  async #copyAll(): Promise<void> {
    if (this.#complete) return;
    this.#pass = 1;
    this.#suspects.clear();
    await this.#changed(1);
    const all: ColumnId[] = [];
    for (let cursor = '', end = false; !end; ) {
      const peer = await this.#peer();
      const {message} = await peer.call(OPS.list, {kind: 'columns', cursor});
      for (const id of message.chunks) all.push(id);
      ({cursor, end} = message);
    }
    await this.#copy(all);
    this.#complete = true;
  }

  async #handOver(): Promise<void> {
    const {clock, disk, copied, env} = {...this.#parts, ...this.#parts.env};
    for (let passes = 1; !this.#closed; passes++) {
      const some = await this.#changed(this.#pass + 1);
      if (some === null) {
        this.#complete = false;
        throw new Lost('it has forgotten what changed');
      }
      this.#pass++;
      await this.#copy(some);
      if (some.length > FEW && passes < PASSES_MAX) continue;
      await disk.syncAll();
      try {
        await copied(this.server);
        this.#agreedAt = clock.now();
        env.log.info('copy.done', {server: this.server, passes});
        return;
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        env.log.info('copy.waits', {server: this.server, reason: messageOf(error)});
        passes = 0;
        await sleep(clock, AGAIN_MS);
      }
    }
  }

  /** Null: the other server does not know. */
  async #changed(pass: number): Promise<ColumnId[] | null> {
    const all: ColumnId[] = [];
    for (let cursor = '', end = false; !end; ) {
      const peer = await this.#peer();
      const {message} = await peer.call(OPS.changed, {owner: this.#parts.uuid, pass, cursor});
      if (!message.known) return null;
      for (const id of message.chunks) all.push(id);
      ({cursor, end} = message);
    }
    return all;
  }

  async #copy(ids: readonly ColumnId[]): Promise<void> {
    const {env, progress} = this.#parts;
    for (const [index, id] of ids.entries()) {
      if (this.#closed) throw new FsError('ECANCELED', 'nothing is copied any more');
      progress(ids.length - index);
      try {
        await this.#column(id);
      } catch (error) {
        if (!(error instanceof FsError) || error.errno !== 'EIO') throw error;
        // It cannot be read there, or not written here.
        env.log.warn('copy.bad-column', {...id, reason: error.message});
        this.#suspects.set(nameOf(id), id);
      }
    }
    progress(0);
  }

  async #column(id: ColumnId): Promise<void> {
    const {store, env} = this.#parts;
    await store.remove(id);
    for (let offset = 0, bytes = 1; offset < bytes; offset += EXPORT_BYTES_MAX) {
      const peer = await this.#peer();
      const request = {chunk: id, offset, length: EXPORT_BYTES_MAX};
      const {message, payload} = await peer.call(OPS.exportColumn, request);
      if (!message.present) return;
      ({bytes} = message);
      if (payload === null) continue;
      try {
        await this.#put(id, offset, payload, message);
      } finally {
        env.pool.release(payload.slot);
      }
      await this.#pace(payload.length);
    }
  }

  async #pace(bytes: number): Promise<void> {
    this.#owedMs += (1000 * bytes) / BYTES_PER_S;
    if (this.#owedMs < PACE_MS) return;
    const ms = this.#owedMs;
    this.#owedMs = 0;
    await sleep(this.#parts.env.clock, ms);
  }

  async #put(
    id: ColumnId,
    start: number,
    {offset: memory, length}: Segment,
    {column, k, m, unitBytes, sums, covered}: ExportReply,
  ): Promise<void> {
    const {store, room, env} = this.#parts;
    const {buffer} = storedSums(env.codec, env.pool.memory, memory, length);
    // Bad blocks stay bad here until they are made from the others.
    if (Buffer.compare(new Uint8Array(buffer), sums) !== 0) this.#suspects.set(nameOf(id), id);
    await room.take(length, false);
    const each = column < k ? 0 : 4 * k;
    const part = (all: Uint8Array, bytes: number, from: number, count: number): Uint8Array =>
      all.subarray(from * bytes, (from + count) * bytes);
    const zeros = (block: number): boolean =>
      allZero(part(sums, 4, block, 1)) && allZero(part(covered, each, block, 1));
    await store.use(id, {column, k, m, unitBytes}, true, async (file) => {
      for (const [from, count, hole] of runs(length / BLOCK_BYTES, zeros)) {
        if (hole) continue;
        const range = {offset: start + from * BLOCK_BYTES, length: count * BLOCK_BYTES};
        const at = memory + from * BLOCK_BYTES;
        await file.write([range], at, part(sums, 4, from, count), part(covered, each, from, count));
      }
    });
  }

  #peer(): Promise<Peer> {
    return this.#redial.peer(CONNECT_MS);
  }
}

const byName = (ids: readonly ColumnId[]): [string, ColumnId][] =>
  ids.map((id) => [nameOf(id), id]);
