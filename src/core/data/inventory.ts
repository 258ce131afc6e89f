import {messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';
import {owners} from '../layout/generations.js';
import type {ExistsReply} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {Peer} from '../transport/peer.js';
import type {ColumnStore} from './column-store.js';
import type {ColumnId} from './format.js';

/** A look at all columns takes as many of these as there are pages: a million columns in half an hour. */
const PAGE_MS: Ms = 1_000;
const PAGE = 512;
/** From the end of a look to the next one; a tenth of a shorter grace time. */
const REST_MS_MAX: Ms = 600_000;
const AGAIN_MS: Ms = 5_000;
/** By then all clients have come back to a restarted meta server, or are fenced. */
const SETTLED_MS: Ms = 20_000;
/** What is found beyond these waits for the next look. */
const SUSPECTS_MAX = 65_536;

export interface InventoryParts {
  meta(deadlineMs: Ms): Promise<Peer>;
  store: Pick<ColumnStore, 'list'>;
  remove(ids: readonly ColumnId[]): Promise<void>;
}

/**
 * Finds columns that are nobody's (an object whose removal this server was never told of), and removes them when their object was
 * missing twice, at least the grace time apart, in one life of the meta server. A column is listed before its object is asked about: so the object
 * has been there, and ids are not given twice; and what the meta server calls missing stays so over a power cut (meta.exists).
 */
export class Inventory {
  readonly #env: Pick<Env, 'clock' | 'log'>;
  readonly #parts: InventoryParts;
  readonly #graceMs: Ms;
  /** When each missing object was first found so, and each generation of an object that was moved. */
  readonly #suspects = new Map<string, Ms>();
  #seen = new Set<string>();
  #cursor = '';
  #boot = 0;
  #bootAt: Ms = 0;
  #removed = 0;
  #timer: Timer | null = null;
  #running: Promise<void> | null = null;
  #closed = false;

  constructor(env: Pick<Env, 'clock' | 'log'>, parts: InventoryParts, graceMs: Ms) {
    this.#env = env;
    this.#parts = parts;
    this.#graceMs = graceMs;
  }

  /** Columns that were removed here because nobody owned them, since the start. */
  get removed(): number {
    return this.#removed;
  }

  /** The meta server has said hello; another `boot` is another life of it, and what it calls missing must be so for as long again. */
  restarted(boot: number): void {
    if (boot === this.#boot || this.#closed) return;
    this.#boot = boot;
    this.#bootAt = this.#env.clock.now();
    this.#suspects.clear();
    this.#seen.clear();
    this.#cursor = '';
    this.#plan(SETTLED_MS);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#running;
  }

  get #restMs(): Ms {
    return Math.min(REST_MS_MAX, Math.ceil(this.#graceMs / 10));
  }

  #plan(delay: Ms): void {
    this.#timer?.cancel();
    if (this.#closed) return;
    this.#timer = this.#env.clock.timer(delay, () => {
      // A page that takes long is not looked at twice at a time.
      if (this.#running !== null) return this.#plan(AGAIN_MS);
      this.#running = this.#page()
        .then((next) => this.#plan(next))
        .catch((error: unknown) => {
          this.#env.log.info('inventory.failed', {reason: messageOf(error)});
          this.#plan(AGAIN_MS);
        })
        .finally(() => {
          this.#running = null;
        });
    });
  }

  /** Looks at the next columns. Resolves with how long to wait before the ones after them. */
  async #page(): Promise<Ms> {
    const {clock, log} = this.#env;
    const boot = this.#boot;
    const {ids, cursor, end} = await this.#parts.store.list(this.#cursor, PAGE);
    const oids = [...new Set(ids.map(({oid}) => oid))];
    const meta = await this.#parts.meta(AGAIN_MS);
    const {message} = await meta.call(OPS.exists, {oids});
    const now = clock.now();
    if (boot !== this.#boot || now - this.#bootAt < SETTLED_MS) return AGAIN_MS;
    const gone = this.#judge(ids, message, now);
    if (gone.length > 0) {
      await this.#parts.remove(gone);
      this.#removed += gone.length;
      log.warn('inventory.removed', {columns: gone.length, oid: gone[0]!.oid});
    }
    this.#cursor = end ? '' : cursor;
    if (!end) return PAGE_MS;
    // They have been removed, here or by who was to do it.
    for (const key of [...this.#suspects.keys()])
      if (!this.#seen.has(key)) this.#suspects.delete(key);
    this.#seen = new Set();
    return Math.max(PAGE_MS, this.#restMs);
  }

  /** Those that have been nobody's for long enough. */
  #judge(ids: readonly ColumnId[], said: ExistsReply, now: Ms): ColumnId[] {
    const ownerOf = owners(said);
    const missing = new Set(said.missing);
    const due = new Map<string, boolean>();
    return ids.filter((id) => {
      const whose = ownerOf(id);
      if (whose === 'somebody') return false;
      const {oid, generation} = id;
      const key = missing.has(oid) ? `${oid}` : `${oid}.${generation}`;
      const is = due.get(key) ?? this.#due(key, id, whose === 'unknown', said, now);
      due.set(key, is);
      return is;
    });
  }

  #due(key: string, id: ColumnId, unknown: boolean, said: ExistsReply, now: Ms): boolean {
    // A meta server that has never given the id has an older state than its cluster: nothing is known to be gone.
    if (unknown) {
      const {oid, generation} = id;
      const {idsBelow} = said;
      this.#env.log.error('inventory.unknown-object', {oid, generation, idsBelow});
      return false;
    }
    this.#seen.add(key);
    const since = this.#suspects.get(key);
    if (since !== undefined) return now - since >= this.#graceMs;
    if (this.#suspects.size < SUSPECTS_MAX) this.#suspects.set(key, now);
    return false;
  }
}
