import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {ClusterMap} from '../cluster/map.js';
import {OPS} from '../protocol/ops.js';
import type {Peer} from '../transport/peer.js';
import type {ColumnId} from './format.js';
import type {Origin} from './identity.js';
import {TakeOver, type TakeOverParts} from './take-over.js';

/** From the meta server's word that a slot is taken over to the map that says so. */
const TAKE_MS: Ms = 10_000;
const LIST_MAX = 1024;

export interface SuccessionParts extends Omit<TakeOverParts, 'uuid' | 'cluster' | 'copied'> {
  /** Has the server a slot, or had it ever one? */
  placed(): boolean;
  identity(): {uuid: string; cluster: string};
  meta(deadlineMs: Ms): Promise<Peer>;
}

/** What a server without a slot does to get one: it copies whom it is told to copy, and forgets what it has copied in vain. */
export class Succession {
  readonly #parts: SuccessionParts;
  #copy: TakeOver | null = null;
  /** Columns that were copied for nothing are being removed. */
  #emptying: Promise<void> | null = null;
  #rest: ColumnId[] | null = null;
  /** The end of a copy is on its way. */
  #taking: Promise<void> | null = null;
  #closed = false;

  constructor(parts: SuccessionParts) {
    this.#parts = parts;
  }

  /** Of what was copied, what is to be made from others. Null: nothing was copied, or not all of it. */
  get rest(): readonly ColumnId[] | null {
    return this.#rest;
  }

  /** Before it registers: an earlier life may have copied something. ENOTEMPTY: there are columns that nobody knows of. */
  async start(origin: Origin): Promise<void> {
    if (origin === 'new') {
      const {ids} = await this.#parts.store.list('', 1);
      if (ids.length === 0) return;
      throw new FsError('ENOTEMPTY', 'the folder has columns of another server; empty it first');
    }
    await this.#empty();
  }

  /** Whom to copy, as the meta server sees it now; null: nobody. */
  ordered(server: {uuid: string; address: string} | null): void {
    if (this.#closed || this.#emptying !== null || this.#parts.placed()) return;
    const copy = this.#copy;
    if (copy === null) {
      if (server !== null) this.#copy = this.#begin(server);
      return;
    }
    const agreedMs = copy.agreedMs;
    if (server === null && agreedMs !== null) return;
    // Else what was agreed upon did not come to pass.
    if (server?.uuid === copy.server && (agreedMs ?? 0) < TAKE_MS) return;
    copy.close();
    this.#copy = null;
    void this.#empty();
  }

  /** Before a map is obeyed that gives it its first slot. What was copied for another one must not be there. */
  async seated(): Promise<void> {
    if (this.#copy === null) await this.#empty();
  }

  /** After that. Calls `tell` when it is known what is to be made from others, unless it has heard of a newer map by then. */
  obeyed(newest: () => ClusterMap | null, map: ClusterMap, tell: () => void): void {
    if (this.#copy !== null && this.#parts.placed()) this.#taking = this.#finish(this.#copy);
    if (this.#taking === null) tell();
    else
      void this.#taking.then(() => {
        if (newest() === map) tell();
      });
  }

  close(): void {
    this.#closed = true;
    this.#copy?.close();
  }

  #begin(server: {uuid: string; address: string}): TakeOver {
    const {identity, meta} = this.#parts;
    const copied = async (of: string): Promise<void> => {
      const peer = await meta(TAKE_MS);
      await peer.call(OPS.copied, {server: of});
    };
    return new TakeOver({...this.#parts, ...identity(), copied}, server);
  }

  async #finish(copy: TakeOver): Promise<void> {
    this.#copy = null;
    this.#rest = await copy.finish();
    const left = this.#rest?.length ?? -1;
    this.#parts.env.log.info('copy.finished', {server: copy.server, left});
    this.#taking = null;
  }

  /** Nothing that it has is of any use. */
  #empty(): Promise<void> {
    this.#emptying ??= this.#removeAll()
      .catch((error: unknown) =>
        this.#parts.env.log.warn('copy.not-removed', {reason: messageOf(error)}),
      )
      .finally(() => {
        this.#emptying = null;
      });
    return this.#emptying;
  }

  async #removeAll(): Promise<void> {
    const {store, env} = this.#parts;
    let count = 0;
    for (;;) {
      const {ids} = await store.list('', LIST_MAX);
      for (const id of ids) await store.remove(id);
      count += ids.length;
      if (ids.length === 0) break;
    }
    if (count > 0) env.log.info('copy.removed', {columns: count});
  }
}
