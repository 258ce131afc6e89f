import {FsError, messageOf} from '../base/errors.js';
import {SLOT} from '../cluster/map.js';
import {slotColumn} from '../layout/stripe.js';
import type {ChunkRef} from '../protocol/gen/wire.js';
import {LEASE, OPS} from '../protocol/ops.js';
import type {Held} from './held.js';
import type {OpenedClient} from './index.js';
import {rebuildColumn} from './rebuild.js';
import {chunkKey, listAll, liveSlots, missedBySlot, trusting} from './repair-path.js';
import {resyncChunk} from './resync.js';
import {cut} from './truncate.js';

/** Objects that are worked on at the same time; the rest of the servers' strength belongs to programs. */
const PARALLEL = 2;
/** Objects that the meta server is asked about at once. */
const SWEEP_OIDS = 1024;

export interface RepairOptions {
  /** Asked between chunks: true ends the work early, by an error. */
  stopped(): boolean;
  /** How many chunks are left. */
  progress?(left: number): void;
}

export interface RecoverOptions extends RepairOptions {
  /** Chunks of the own intent log as the server started: what was unsynced then may be lost. */
  intents: readonly ChunkRef[];
  /** The server came without any columns: everything that the group has is rebuilt. */
  empty: boolean;
}

/**
 * Brings the columns of a recovering slot up to date, from the slot's own process. Resolves when the survivors' missed logs
 * have nothing for it; then `meta.recovered` may be sent. May be begun again at any time, after any failure.
 */
export async function recoverSlot(
  client: OpenedClient,
  group: number,
  slot: number,
  options: RecoverOptions,
): Promise<void> {
  const {path} = client.parts;
  const {epoch, groups} = path.columns.map;
  const own = groups.find((candidate) => candidate.id === group)?.slots[slot];
  // An older map would not say whom the survivors keep their missed logs for.
  if (own?.state !== SLOT.recovering) throw new FsError('EAGAIN', `slot ${group}.${slot}`);
  const missed = await missedBySlot(path, group);
  const lacking = new Map(missed.get(slot) ?? []);
  if (options.empty) {
    for (const server of liveSlots(path.columns.map, group)) {
      if (server === slot) continue;
      for (const chunk of await listAll(path, group, server, 'columns'))
        lacking.set(chunkKey(chunk), chunk);
    }
    // What is being rebuilt may not be trusted either.
    missed.set(slot, lacking);
  }
  // What the others do not miss here, but the own log does not vouch for.
  const unsure = new Set<string>();
  for (const chunk of options.intents) {
    if (lacking.has(chunkKey(chunk))) continue;
    lacking.set(chunkKey(chunk), chunk);
    unsure.add(chunkKey(chunk));
  }
  await eachObject([...lacking.values()], options, async (oid, chunks) => {
    const gone = await underLease(client, oid, async (held) => {
      for (const ref of chunks) {
        const {slots} = path.columns.map.groups.find((one) => one.id === group)!;
        const column = slotColumn(oid, ref.chunk, slot, slots.length, held.layout!);
        if (column === -1) continue;
        const view = trusting(path, group, ref, missed, slot, epoch);
        try {
          await rebuildColumn(view, held, ref.chunk, column);
        } catch (error) {
          // The others do not agree either: they may all have lost power, and this column counts as theirs do.
          const torn = error instanceof FsError && error.errno === 'EIO';
          if (!torn || !unsure.has(chunkKey(ref))) throw error;
          await resyncChunk(trusting(path, group, ref, missed, -1, epoch), held, ref.chunk);
        }
      }
    });
    if (gone) await path.columns.call(group, slot, OPS.remove, {epoch, oids: [oid]});
    else await client.parts.syncer.sync(client.parts.holder.get(oid));
    for (const server of liveSlots(path.columns.map, group)) {
      if (server === slot) continue;
      await path.columns.call(group, server, OPS.missedClear, {slot, chunks, epoch});
    }
  });
  await sweep(client, group, slot, epoch);
}

/**
 * Removes the columns that a server has of objects that are gone: a removal that was acknowledged while the server was
 * away, or just before it lost power.
 */
async function sweep(
  client: OpenedClient,
  group: number,
  server: number,
  epoch: number,
): Promise<void> {
  const {path, session} = client.parts;
  const oids = [...new Set((await listAll(path, group, server, 'columns')).map(({oid}) => oid))];
  for (let at = 0; at < oids.length; at += SWEEP_OIDS) {
    const {message} = await session.call(OPS.exists, {oids: oids.slice(at, at + SWEEP_OIDS)});
    if (message.missing.length === 0) continue;
    await path.columns.call(group, server, OPS.remove, {epoch, oids: message.missing});
  }
}

/**
 * Carries out a resync order: every chunk that any server's intent log names is made consistent, synced and settled.
 */
export async function resyncGroup(
  client: OpenedClient,
  group: number,
  options: RepairOptions,
): Promise<void> {
  const {path} = client.parts;
  const {epoch} = path.columns.map;
  const missed = await missedBySlot(path, group);
  const chunks = new Map<string, ChunkRef>();
  for (const server of liveSlots(path.columns.map, group)) {
    for (const chunk of await listAll(path, group, server, 'intents'))
      chunks.set(chunkKey(chunk), chunk);
  }
  await resyncAll(client, group, [...chunks.values()], missed, epoch, options);
  for (const server of liveSlots(path.columns.map, group))
    await sweep(client, group, server, epoch);
}

async function resyncAll(
  client: OpenedClient,
  group: number,
  all: readonly ChunkRef[],
  missed: ReadonlyMap<number, ReadonlyMap<string, ChunkRef>>,
  epoch: number,
  options: RepairOptions,
): Promise<void> {
  const {parts} = client;
  await eachObject(all, options, async (oid, chunks) => {
    const gone = await underLease(client, oid, async (held) => {
      let end = 0;
      for (const ref of chunks) {
        const view = trusting(parts.path, group, ref, missed, -1, epoch);
        end = Math.max(end, await resyncChunk(view, held, ref.chunk));
      }
      // Bytes beyond the size: their writer died before it could say how long the object is.
      if (end > held.size) {
        held.flushedSize = Math.max(held.flushedSize, end);
        await cut(parts, held, held.size);
      }
    });
    if (gone) {
      for (const server of liveSlots(parts.path.columns.map, group))
        await parts.path.columns.call(group, server, OPS.remove, {epoch, oids: [oid]});
      return;
    }
    await parts.syncer.sync(parts.holder.get(oid));
    await parts.syncer.settle();
  });
}

/** True: the object is gone, or no file. Its lease goes back at once, since a program may be waiting for it. */
async function underLease(
  client: OpenedClient,
  oid: number,
  work: (held: Held) => Promise<void>,
): Promise<boolean> {
  const {holder} = client.parts;
  let begun = false;
  try {
    await holder.use(oid, LEASE.write, (held) => {
      begun = true;
      return held.exclusive(() => work(held));
    });
    return false;
  } catch (error) {
    // A server's intents come by neighbouring objects, and some of those are directories.
    if (error instanceof FsError && error.errno === 'EINVAL' && !begun) return true;
    if (error instanceof FsError && ['ENOENT', 'ESTALE'].includes(error.errno)) return true;
    throw error;
  }
}

/** Chunks of one object one after the other, a few objects at a time. Rejects with the first failure when all have ended. */
async function eachObject(
  chunks: readonly ChunkRef[],
  options: RepairOptions,
  work: (oid: number, chunks: ChunkRef[]) => Promise<void>,
): Promise<void> {
  const byObject = Map.groupBy(chunks, (chunk) => chunk.oid);
  const queue = [...byObject];
  let left = chunks.length;
  let failure: {error: unknown} | null = null;
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      if (failure !== null) return;
      if (options.stopped()) throw new FsError('ECANCELED', 'the repair was stopped');
      options.progress?.(left);
      await work(next[0], next[1]);
      left -= next[1].length;
    }
  };
  const workers = Array.from({length: PARALLEL}, () =>
    worker().catch((error: unknown) => {
      failure ??= {error};
    }),
  );
  await Promise.all(workers);
  if (failure !== null) {
    const {error} = failure as {error: unknown};
    throw error instanceof FsError ? error : new FsError('EIO', messageOf(error), {cause: error});
  }
  options.progress?.(0);
}
