import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {writable} from '../cluster/map.js';
import type {Timer} from '../env/clock.js';
import type {ChunkRef} from '../protocol/gen/wire.js';
import {LEASE, OPS} from '../protocol/ops.js';
import {COLUMN_WAIT_MS} from './column-io.js';
import type {BytePath} from './columns.js';
import {doubtTorn} from './doubt.js';
import type {Held} from './held.js';
import type {LeaseHolder} from './lease-holder.js';
import {locate} from './place.js';

/** What was written and never synced is synced by then. */
const SYNC_MS: Ms = 5000;
const SETTLE_MS: Ms = 1000;
const SYNC_LATE_MS: Ms = 10_000;
const CHUNKS_MAX = 1024;

/** A chunk of an object, and columns of it as bits. */
interface Part {
  held: Held;
  chunk: number;
  columns: number;
}

/** Brings written columns to stable storage, and then has the servers forget that they might differ. */
export class Syncer {
  readonly #path: BytePath;
  readonly #holder: LeaseHolder;
  #sync: Timer | null = null;
  #settle: Timer | null = null;
  #closed = false;

  constructor(path: BytePath, holder: LeaseHolder) {
    this.#path = path;
    this.#holder = holder;
  }

  /** Something was written: see that it is synced some time. */
  plan(): void {
    if (this.#sync !== null || this.#closed) return;
    this.#sync = this.#path.clock.timer(SYNC_MS, () => {
      this.#sync = null;
      void this.#background();
    });
  }

  /** All columns of the object that were written so far are on stable storage when this resolves; EIO if they cannot be. */
  async sync(held: Held): Promise<void> {
    for (;;) {
      if (held.syncing !== null) {
        await held.syncing;
        continue;
      }
      if (held.unsynced.size === 0) return;
      await this.#syncParts(takeParts([held]));
    }
  }

  /** The same for many objects at once, in one request for each server. Rejects if any of it could not be synced. */
  async #syncParts(parts: Part[]): Promise<void> {
    const work = this.#onColumns(parts, (group, slot, epoch, chunks) =>
      this.#path.columns.call(
        group,
        slot,
        OPS.sync,
        {epoch, chunks, all: chunks.length > CHUNKS_MAX},
        {deadlineMs: SYNC_LATE_MS},
      ),
    );
    const helds = new Set(parts.map((part) => part.held));
    // Whoever waits tries again by itself if this fails: the parts are back then.
    const quiet = work.then(
      () => {},
      () => {},
    );
    for (const held of helds) held.syncing = quiet;
    try {
      await work;
      for (const {held, chunk} of parts) {
        const even = !held.unfinished.has(chunk) && !held.torn.has(chunk);
        if (even && !held.unsynced.has(chunk)) held.settle.add(chunk);
      }
      this.#planSettle();
    } catch (error) {
      for (const {held, chunk, columns} of parts)
        held.unsynced.set(chunk, (held.unsynced.get(chunk) ?? 0) | columns);
      this.plan();
      throw error;
    } finally {
      for (const held of helds) if (held.syncing === quiet) held.syncing = null;
    }
  }

  /**
   * One call for each server that has live columns of the parts; again under the next map for what failed. Columns
   * in slots that are away are not waited for: their survivors know what they missed.
   */
  async #onColumns(
    parts: readonly Part[],
    call: (group: number, slot: number, epoch: number, chunks: ChunkRef[]) => Promise<unknown>,
  ): Promise<void> {
    const {clock, columns, stats} = this.#path;
    const deadline = clock.now() + COLUMN_WAIT_MS;
    let left = parts;
    for (;;) {
      const servers = new Map<
        string,
        {group: number; slot: number; chunks: ChunkRef[]; parts: Part[]}
      >();
      const {epoch} = columns.map;
      const failed: Part[] = [];
      let reason = '';
      for (const part of left) {
        const {held, chunk} = part;
        if (held.layout === null) continue;
        const place = locate(columns.map, held.layout, held.oid, chunk);
        // With too few columns a write that was acknowledged may be nowhere else.
        if (place.infos.filter(writable).length < held.layout.k) {
          reason = `group ${place.group} has too few servers`;
          failed.push(part);
          continue;
        }
        for (let column = 0; column < place.slots.length; column++) {
          if ((part.columns & (1 << column)) === 0 || !writable(place.infos[column]!)) continue;
          const key = `${place.group}.${place.slots[column]}`;
          let server = servers.get(key);
          if (server === undefined) {
            server = {group: place.group, slot: place.slots[column]!, chunks: [], parts: []};
            servers.set(key, server);
          }
          server.chunks.push({oid: held.oid, chunk, generation: 0});
          server.parts.push({held, chunk, columns: 1 << column});
        }
      }
      await Promise.all(
        [...servers.values()].map((server) => {
          stats.dataCalls++;
          return call(server.group, server.slot, epoch, server.chunks).catch((error: unknown) => {
            reason = messageOf(error);
            failed.push(...server.parts);
            if (error instanceof FsError || !('kind' in (error as object)))
              columns.report(server.group, server.slot, epoch, reason);
          });
        }),
      );
      if (failed.length === 0) return;
      if (clock.now() >= deadline) throw new FsError('EIO', `sync: ${reason}`);
      left = failed;
      await columns.newer(epoch, 250);
    }
  }

  /** Never rejects; tried again some time if no server could be told. */
  async doubt(held: Held): Promise<void> {
    await doubtTorn(this.#path, held);
    if (held.torn.size > 0) this.plan();
  }

  async #background(): Promise<void> {
    for (const held of this.#holder.all()) if (held.torn.size > 0) void this.doubt(held);
    const helds = [...this.#holder.all()].filter(
      (held) => held.unsynced.size > 0 && held.syncing === null,
    );
    if (helds.length === 0) return;
    await this.#syncParts(takeParts(helds)).catch((error: unknown) =>
      this.#path.log.warn('sync.failed', {reason: messageOf(error)}),
    );
    if (helds.some((held) => held.unsynced.size > 0)) this.plan();
  }

  #planSettle(): void {
    if (this.#settle !== null || this.#closed) return;
    this.#settle = this.#path.clock.timer(SETTLE_MS, () => {
      this.#settle = null;
      void this.settle().catch((error: unknown) =>
        this.#path.log.info('settle.failed', {reason: messageOf(error)}),
      );
    });
  }

  /**
   * Chunks that are synced leave the servers' intent logs, if their lease is still held: without it somebody else
   * may have written them since, and will settle them. Columns that an earlier holder may have left unsynced are
   * synced first.
   */
  async settle(): Promise<void> {
    const helds = [...this.#holder.all()].filter(
      (held) =>
        held.settle.size > 0 &&
        held.mode !== LEASE.none &&
        held.gate === null &&
        held.layout !== null,
    );
    for (const held of helds) held.users++;
    try {
      const parts: Part[] = [];
      const unknown: Part[] = [];
      for (const held of helds) {
        const columns = 2 ** (held.layout!.k + held.layout!.m) - 1;
        for (const chunk of held.settle) {
          const {infos} = locate(this.#path.columns.map, held.layout!, held.oid, chunk);
          if (infos.filter(writable).length < held.layout!.k) continue;
          if (!held.fresh && !held.known.has(chunk)) unknown.push({held, chunk, columns});
          parts.push({held, chunk, columns});
        }
      }
      if (unknown.length > 0) {
        await this.#onColumns(unknown, (group, slot, epoch, chunks) =>
          this.#path.columns.call(group, slot, OPS.sync, {epoch, chunks, all: false}),
        );
        for (const {held, chunk} of unknown) held.known.add(chunk);
      }
      // What was written meanwhile stays an intent.
      const clean = parts.filter(({held, chunk}) => held.settle.delete(chunk));
      const isChecked = Map.groupBy(clean, ({held, chunk}) => held.checked.delete(chunk));
      for (const [checked, same] of isChecked) {
        for (let at = 0; at < same.length; at += CHUNKS_MAX) {
          await this.#onColumns(same.slice(at, at + CHUNKS_MAX), (group, slot, epoch, chunks) =>
            this.#path.columns.call(group, slot, OPS.settle, {epoch, chunks, checked}),
          );
        }
      }
    } finally {
      for (const held of helds) held.done();
    }
  }

  /** Syncs and settles everything; for an orderly end. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#sync?.cancel();
    this.#settle?.cancel();
    await this.#background();
    await this.settle();
  }
}

function takeParts(helds: readonly Held[]): Part[] {
  const parts: Part[] = [];
  for (const held of helds) {
    for (const [chunk, columns] of held.unsynced) parts.push({held, chunk, columns});
    held.unsynced.clear();
  }
  return parts;
}
