import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {type ClusterMap, writable} from '../cluster/map.js';
import type {Timer} from '../env/clock.js';
import type {Layout} from '../layout/scheme.js';
import {chunkDataBytes} from '../layout/stripe.js';
import type {ChunkRef} from '../protocol/gen/wire.js';
import {LEASE, OPS} from '../protocol/ops.js';
import {COLUMN_WAIT_MS} from './column-io.js';
import type {BytePath} from './columns.js';
import {doubtTorn} from './doubt.js';
import type {Held} from './held.js';
import type {LeaseHolder} from './lease-holder.js';
import {type ChunkPlace, canWrite, locate} from './place.js';
import {trustedPlace} from './trusted.js';
import {durable, pending, type SyncedSo, touch} from './unsynced.js';

/** What was written and never synced is synced by then. */
const SYNC_MS: Ms = 5000;
const SETTLE_MS: Ms = 1000;
const SYNC_LATE_MS: Ms = 10_000;
/** Leases stay while chunks are settled, and one that is recalled must go within 10 s, written back: so a server that hangs is not waited for. */
const SETTLE_WAIT_MS: Ms = 2000;
const SETTLE_AGAIN_MS: Ms = 5000;
const CHUNKS_MAX = 1024;

/** A chunk of an object, and what has become of its columns. */
interface Part extends SyncedSo {
  held: Held;
  chunk: number;
  layout: Layout;
}

type Call = (group: number, slot: number, epoch: number, chunks: ChunkRef[]) => Promise<unknown>;

/** Servers lost what they had been told to write before it was synced. Somebody has been told of it by this, or by `held.error`. */
export class LostWrites extends FsError {
  constructor() {
    super('EIO', 'servers have lost what was not synced');
  }
}

/** Brings written columns to stable storage, and then has the servers forget that they might differ. */
export class Syncer {
  readonly #path: BytePath;
  readonly #holder: LeaseHolder;
  readonly #namesDurable: () => Promise<unknown>;
  #sync: Timer | null = null;
  #settle: Timer | null = null;
  #closed = false;
  /** Epoch of the newest change of a slot. */
  #newest = 0;

  /** `namesDurable` resolves when all names and attributes are on stable storage. */
  constructor(path: BytePath, holder: LeaseHolder, namesDurable: () => Promise<unknown>) {
    this.#path = path;
    this.#holder = holder;
    this.#namesDurable = namesDurable;
  }

  /** Something was written: see that it is synced some time. */
  plan(): void {
    if (this.#sync !== null || this.#closed) return;
    this.#sync = this.#path.clock.timer(SYNC_MS, () => {
      this.#sync = null;
      void this.#background();
    });
  }

  /**
   * A slot was lost, or is whole again: what is unsynced becomes durable on those that are there before the next one is lost.
   */
  mapChanged(map: ClusterMap): void {
    let newest = 0;
    for (const {slots} of map.groups)
      for (const {since = 0} of slots) newest = Math.max(newest, since);
    if (newest <= this.#newest || this.#closed) return;
    this.#newest = newest;
    this.#path.clock.soon(() => void this.#background());
  }

  /**
   * All columns of the object that were written so far, by whomever, are on stable storage when this resolves, as far as it takes k of each chunk. EIO
   * if they cannot be; LostWrites if too few of those that this client wrote are there any more, or more were lost than `losses`. `repair`: what
   * was written is of a repair, so it is all or LostWrites, and what others wrote is not its business.
   */
  async sync(held: Held, repair = false, losses = held.losses): Promise<void> {
    while (held.syncing !== null || held.unsafe) {
      if (held.syncing !== null) await held.syncing;
      else await this.#syncParts(takeParts([held]), repair);
    }
    if (!repair) await this.#syncOthers(held);
    if (held.losses !== losses) throw new LostWrites();
  }

  /**
   * Chunks that an earlier holder of the lease may have left unsynced. It syncs them, too, within 5 s; but whoever reads them now and then calls
   * fsync means them as well. Asked once under a lease; servers answer at once for what they know to be settled.
   */
  async #syncOthers(held: Held): Promise<void> {
    if (held.fresh || held.layout === null) return;
    const count = Math.ceil(held.flushedSize / chunkDataBytes(held.layout));
    const all = 2 ** (held.layout.k + held.layout.m) - 1;
    const open = new Set<Part>();
    for (let chunk = 0; chunk < count; chunk++)
      if (!held.known.has(chunk)) open.add(partOf(held, chunk, all));
    const {clock, columns} = this.#path;
    const deadline = clock.now() + COLUMN_WAIT_MS;
    while (open.size > 0) {
      const {epoch} = columns.map;
      const {reason} = await this.#round([...open], (...a) => this.#syncOne(SYNC_LATE_MS, ...a));
      for (const part of open) {
        const place = locate(columns.map, held.layout, held.oid, part.chunk);
        if (pending({...part, lost: 0}, place) === 0) held.known.add(part.chunk);
        // A column whose sync failed is made again from the others.
        else if (pending(part, place) !== 0 || syncedColumns(part) < place.layout.k) continue;
        open.delete(part);
      }
      if (open.size === 0) return;
      if (clock.now() >= deadline)
        throw new FsError('EIO', `sync: ${reason || 'too few servers have synced'}`);
      await columns.newer(epoch, 250);
    }
  }

  /** The same for many objects at once, in one request for each server. Rejects if any of it could not be synced. */
  async #syncParts(parts: Part[], repair = false): Promise<void> {
    const open = new Set(parts);
    const work = this.#bring(open, repair);
    const helds = new Set(parts.map((part) => part.held));
    // Whoever waits tries again by itself if this fails: the parts are back then.
    const quiet = work.then(
      () => {},
      () => {},
    );
    for (const held of helds) held.syncing = quiet;
    try {
      await work;
    } catch (error) {
      for (const part of open) untaken(part);
      this.plan();
      throw error;
    } finally {
      for (const held of helds) {
        if (held.syncing === quiet) held.syncing = null;
        if (held.torn.size > 0) void this.doubt(held);
      }
      this.#planSettle(SETTLE_MS);
    }
  }

  /**
   * Syncs until every part has left `open`: it is durable, or lost. Columns in slots that are away are not waited for if the others will do: their
   * survivors know what they missed.
   */
  async #bring(open: Set<Part>, repair: boolean): Promise<void> {
    const {clock, columns} = this.#path;
    const deadline = clock.now() + COLUMN_WAIT_MS;
    for (;;) {
      const {epoch} = columns.map;
      const {reason} = await this.#round([...open], (...a) => this.#syncOne(SYNC_LATE_MS, ...a));
      for (const part of open) {
        const fate = await this.#fate(part, repair);
        if (fate === 'open') continue;
        open.delete(part);
        if (fate === 'lost') this.#lost(part, repair);
        else this.#synced(part, repair);
      }
      if (open.size === 0) return;
      if (clock.now() >= deadline)
        throw new FsError('EIO', `sync: ${reason || 'too few servers have what was written'}`);
      await columns.newer(epoch, 250);
    }
  }

  /** Columns of the chunk, as bits, were synced with what was written to them last; by who alone writes the object now. */
  syncedAlready(held: Held, chunk: number, columns: number): void {
    const entry = held.unsynced.get(chunk);
    if (entry === undefined || held.layout === null || held.syncing !== null) return;
    const {map, lives} = this.#path.columns;
    const place = locate(map, held.layout, held.oid, chunk);
    const kept = place.slots.every(
      (slot, column) =>
        (entry.columns & (1 << column)) === 0 || lives.keeps(place.group, slot, entry.losses),
    );
    const part = {...entry, held, chunk, layout: held.layout, synced: columns, lost: 0};
    if (!kept || (entry.columns & ~columns) !== 0 || tooFew(place)) return;
    const alone = entry.tenure === held.tenure && held.mode === LEASE.write;
    if (!durable(part, place, alone)) return;
    held.unsynced.delete(chunk);
    this.#synced(part, false);
    this.#planSettle(SETTLE_MS);
  }

  async #fate(part: Part, repair: boolean): Promise<'open' | 'durable' | 'lost'> {
    const {held, chunk, layout} = part;
    const {map} = this.#path.columns;
    const place = locate(map, layout, held.oid, chunk);
    // Nobody is left who could say what has become of what the object was moved from.
    if (outdated(part) && map.groups.every(({id}) => id !== place.group)) return 'lost';
    if (tooFew(place) || pending(part, place) !== 0) return 'open';
    if (repair) return part.lost === 0 ? 'durable' : 'lost';
    const alone = part.tenure === held.tenure && held.mode === LEASE.write;
    if (durable(part, place, alone)) return 'durable';
    if (!canWrite(place) && durable(part, await trustedPlace(this.#path, place), false))
      return 'durable';
    // What others will be made whole from is not what was written: waiting does not help.
    return part.lost === 0 ? 'open' : 'lost';
  }

  #synced(part: Part, repair: boolean): void {
    const {held, chunk, lost} = part;
    if (outdated(part)) return;
    if (lost !== 0) {
      held.checked.delete(chunk);
      if (!repair) held.torn.add(chunk);
    }
    const even = !held.unfinished.has(chunk) && !held.torn.has(chunk);
    if (even && !held.unsynced.has(chunk)) held.settle.add(chunk);
  }

  #lost(part: Part, repair: boolean): void {
    const {held, chunk} = part;
    held.losses++;
    held.checked.delete(chunk);
    this.#path.log.error('data.lost', {oid: held.oid, chunk, reason: 'servers lost it unsynced'});
    if (repair) return;
    held.error ??= new LostWrites();
    if (!outdated(part)) held.torn.add(chunk);
  }

  /**
   * One call for each server that has live columns of the parts which are pending. Notes for each part what came of them. `reason`: why some could
   * not be called, or failed; empty: none.
   */
  async #round(parts: readonly Part[], call: Call, report = true): Promise<{reason: string}> {
    const {columns, stats} = this.#path;
    const {epoch} = columns.map;
    const servers = new Map<
      string,
      {group: number; slot: number; chunks: ChunkRef[]; parts: {part: Part; bit: number}[]}
    >();
    const result = {reason: ''};
    for (const part of parts) {
      const {held, chunk, layout} = part;
      const place = locate(columns.map, layout, held.oid, chunk);
      // With too few columns a write that was acknowledged may be nowhere else.
      if (tooFew(place)) {
        result.reason = `group ${place.group} has too few servers`;
        continue;
      }
      const {group, slots} = place;
      const left = pending(part, place);
      slots.forEach((slot, column) => {
        const bit = 1 << column;
        if ((left & bit) === 0) return;
        const key = `${group}.${slot}`;
        const server = servers.get(key) ?? {group, slot, chunks: [], parts: []};
        servers.set(key, server);
        server.chunks.push({oid: held.oid, chunk, generation: place.generation});
        server.parts.push({part, bit});
      });
    }
    await Promise.all(
      [...servers.values()].map(async ({group, slot, chunks, parts: its}) => {
        stats.dataCalls++;
        try {
          await call(group, slot, epoch, chunks);
        } catch (error) {
          result.reason = messageOf(error);
          if (report && (error instanceof FsError || !('kind' in (error as object))))
            columns.report(group, slot, epoch, result.reason);
          if (error instanceof FsError) for (const {part, bit} of its) part.lost |= bit;
          return;
        }
        for (const {part, bit} of its) {
          if (columns.lives.keeps(group, slot, part.losses)) part.synced |= bit;
          else part.lost |= bit;
        }
      }),
    );
    return result;
  }

  /** Never rejects; tried again some time if no server could be told. */
  async doubt(held: Held): Promise<void> {
    await doubtTorn(this.#path, held);
    if (held.torn.size > 0) this.plan();
  }

  async #background(): Promise<void> {
    for (const held of this.#holder.all()) if (held.torn.size > 0) void this.doubt(held);
    const helds = [...this.#holder.all()].filter((held) => held.unsafe && held.syncing === null);
    if (helds.length === 0) return;
    await this.#syncParts(takeParts(helds)).catch((error: unknown) =>
      this.#path.log.warn('sync.failed', {reason: messageOf(error)}),
    );
    if (helds.some((held) => held.unsafe)) this.plan();
  }

  async #syncOne(deadlineMs: Ms, group: number, slot: number, epoch: number, chunks: ChunkRef[]) {
    const {columns} = this.#path;
    const request = {epoch, chunks, all: chunks.length > CHUNKS_MAX};
    try {
      await columns.call(group, slot, OPS.sync, request, {deadlineMs});
    } catch (error) {
      // The disk may have dropped anything that it had not written, and says so once.
      if (error instanceof FsError) columns.lives.failed(group, slot);
      throw error;
    }
  }

  #planSettle(after: Ms): void {
    if (this.#settle !== null || this.#closed) return;
    this.#settle = this.#path.clock.timer(after, () => {
      this.#settle = null;
      void this.settle().catch((error: unknown) => {
        this.#path.log.info('settle.failed', {reason: messageOf(error)});
        this.#planSettle(SETTLE_AGAIN_MS);
      });
    });
  }

  /**
   * Chunks that are synced leave the servers' intent logs, if their lease is still held: without it somebody else
   * may have written them since, and will settle them. Columns that an earlier holder may have left unsynced are
   * synced first. Rejects if it did not work with all: the others wait for the next time.
   */
  async settle(): Promise<void> {
    const failure = await this.#makeDurable();
    const helds = [...this.#holder.all()].filter(
      (held) =>
        held.settle.size > 0 &&
        held.mode !== LEASE.none &&
        held.gate === null &&
        held.layout !== null,
    );
    for (const held of helds) held.users++;
    try {
      await this.#settleHeld(helds);
    } finally {
      for (const held of helds) held.done();
    }
    if (failure !== null) throw failure;
  }

  /** Columns of an object that a power cut may take back, or make shorter, are found by their intents: those stay until it cannot. */
  async #makeDurable(): Promise<unknown> {
    const helds = [...this.#holder.all()]
      .filter((held) => [...held.settle].some((chunk) => !sizeDurable(held, chunk)))
      .map((held) => ({held, size: held.toldSize}));
    if (helds.length === 0) return null;
    try {
      await this.#namesDurable();
      for (const {held, size} of helds) held.madeDurable(size);
      return null;
    } catch (error) {
      return error;
    }
  }

  async #settleHeld(helds: readonly Held[]): Promise<void> {
    const {clock, columns} = this.#path;
    const until = clock.now() + SETTLE_WAIT_MS;
    const inTime = async (parts: readonly Part[], call: (ms: Ms) => Call): Promise<string> => {
      const ms = Math.max(1, until - clock.now());
      let timer: Timer | null = null;
      const late = new Promise<{reason: string}>((resolve) => {
        timer = clock.timer(ms, () => resolve({reason: 'a server is late'}));
      });
      // A disk that takes longer than this is slow, and no reason to do without its server.
      const {reason} = await Promise.race([this.#round(parts, call(ms), false), late]);
      (timer as Timer | null)?.cancel();
      return reason;
    };
    const parts: Part[] = [];
    for (const held of helds) {
      const all = 2 ** (held.layout!.k + held.layout!.m) - 1;
      for (const chunk of held.settle) {
        if (sizeDurable(held, chunk) && !tooFew(locate(columns.map, held.layout!, held.oid, chunk)))
          parts.push(partOf(held, chunk, all));
      }
    }
    const unknown = parts
      .filter(({held, chunk}) => !held.fresh && !held.known.has(chunk))
      .map(({held, chunk, columns: all}) => partOf(held, chunk, all));
    let failure = '';
    if (unknown.length > 0) {
      failure = await inTime(
        unknown,
        (ms) =>
          (...a) =>
            this.#syncOne(ms, ...a),
      );
      for (const part of unknown) if (this.#done(part)) part.held.known.add(part.chunk);
    }
    // What was written meanwhile stays an intent.
    const clean = parts.filter(
      ({held, chunk}) => (held.fresh || held.known.has(chunk)) && held.settle.delete(chunk),
    );
    const isChecked = Map.groupBy(clean, ({held, chunk}) => held.checked.delete(chunk));
    for (const [checked, same] of isChecked) {
      for (let at = 0; at < same.length; at += CHUNKS_MAX) {
        const some = same.slice(at, at + CHUNKS_MAX);
        const reason = await inTime(
          some,
          (deadlineMs) => (group, slot, epoch, chunks) =>
            columns.call(group, slot, OPS.settle, {epoch, chunks, checked}, {deadlineMs}),
        );
        failure ||= reason;
        for (const part of some) if (!this.#done(part)) this.#unsettled(part, checked);
      }
    }
    if (failure !== '') throw new FsError('EIO', `settle: ${failure}`);
  }

  /** Does every live column have it? */
  #done(part: Part): boolean {
    const {held, chunk, layout} = part;
    const place = locate(this.#path.columns.map, layout, held.oid, chunk);
    return pending({...part, lost: 0}, place) === 0;
  }

  #unsettled({held, chunk}: Part, checked: boolean): void {
    if (held.unsynced.has(chunk) || held.syncing !== null) return;
    held.settle.add(chunk);
    if (checked) held.checked.add(chunk);
  }

  /** Syncs and settles everything; for an orderly end. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#sync?.cancel();
    this.#settle?.cancel();
    await this.#background();
    await this.settle().catch((error: unknown) =>
      this.#path.log.info('settle.failed', {reason: messageOf(error)}),
    );
  }
}

/** Can no power cut of the meta server leave bytes of the chunk beyond the size of the object? Then nobody would know of them but by its intent. */
function sizeDurable(held: Held, chunk: number): boolean {
  if (held.layout === null || held.durableSize < 0) return false;
  return held.durableSize >= Math.min((chunk + 1) * chunkDataBytes(held.layout), held.flushedSize);
}

function syncedColumns({synced}: Part): number {
  let count = 0;
  for (let left = synced; left > 0; left = Math.floor(left / 2)) count += left % 2;
  return count;
}

const tooFew = ({infos, layout}: ChunkPlace): boolean => infos.filter(writable).length < layout.k;

/** All of these columns, whenever they were written. */
function partOf(held: Held, chunk: number, columns: number): Part {
  const always = {losses: Number.POSITIVE_INFINITY, epoch: 0, missed: 0, missedAt: 0};
  return {held, chunk, layout: held.layout!, columns, ...always, synced: 0, lost: 0};
}

/** Of a layout that the object does not have any more? */
const outdated = ({held, layout}: Part): boolean =>
  held.layout !== null && held.layout.generation !== layout.generation;

function takeParts(helds: readonly Held[]): Part[] {
  const parts: Part[] = [];
  for (const held of helds) {
    const {layout, left} = held;
    for (const one of left)
      parts.push({...one.entry, held, chunk: one.chunk, layout: one.layout, synced: 0, lost: 0});
    held.left = [];
    if (layout === null) continue;
    for (const [chunk, entry] of held.unsynced)
      parts.push({...entry, held, chunk, layout, synced: 0, lost: 0});
    held.unsynced.clear();
  }
  return parts;
}

/** It could not be synced: the next time. */
function untaken(part: Part): void {
  const {held, chunk, layout} = part;
  if (outdated(part)) held.left.push({chunk, layout, entry: part});
  else touch(held, chunk, part);
}
