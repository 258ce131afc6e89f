import {FsError, Lost, messageOf} from '../base/errors.js';
import {SLOT} from '../cluster/map.js';
import {owners} from '../layout/generations.js';
import {chunkDataBytes, slotColumn} from '../layout/stripe.js';
import {EVERYTHING} from '../lease/ranges.js';
import type {ChunkRef, ExistsReply, ObjectPart} from '../protocol/gen/wire.js';
import {LEASE, OPS} from '../protocol/ops.js';
import type {BytePath} from './columns.js';
import type {Held} from './held.js';
import type {OpenedClient} from './index.js';
import {holdsMore} from './overlong.js';
import type {Pace} from './pace.js';
import {locate} from './place.js';
import {nothingDone, type Rebuilt, rebuildColumn} from './rebuild.js';
import {
  chunkKey,
  groupSignature,
  lacks,
  listAll,
  liveSlots,
  type MissedBySlot,
  missedBySlot,
  trusting,
  trustOf,
} from './repair-path.js';
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
  pace?: Pace | undefined;
}

export interface RecoverOptions extends RepairOptions {
  /** Chunks of the own intent log as the server started: what was unsynced then may be lost. */
  intents: readonly ChunkRef[];
  /** The server came without any columns: everything that the group has is rebuilt. */
  empty: boolean;
  /** Chunks that an earlier attempt of the same process has brought up to date; grows. */
  done: Set<string>;
}

/** One attempt at a group, valid while none of its slots changes. */
class Attempt {
  readonly #signature: string;

  constructor(
    readonly client: OpenedClient,
    readonly group: number,
    readonly missed: MissedBySlot,
    signature: string,
  ) {
    this.#signature = signature;
  }

  static async begin(client: OpenedClient, group: number): Promise<Attempt> {
    const {path} = client.parts;
    const signature = groupSignature(path.columns.map, group);
    return new Attempt(client, group, await missedBySlot(path, group), signature);
  }

  view(distrusted: ReadonlySet<number>): BytePath {
    return trusting(this.client.parts.path, this.group, distrusted, this.#signature);
  }

  /** Lost, if a slot of the group has changed. */
  get epoch(): number {
    return this.view(new Set()).columns.map.epoch;
  }

  /** Slots that answer now. */
  get live(): number[] {
    return liveSlots(this.client.parts.path.columns.map, this.group);
  }
}

/**
 * Brings the columns of a recovering slot up to date, from the slot's own process. Resolves when the survivors' missed logs
 * have nothing for it; then `meta.recovered` may be sent. May be begun again at any time, after any failure. EAGAIN: all was done
 * that can be while servers are away.
 */
export async function recoverSlot(
  client: OpenedClient,
  group: number,
  slot: number,
  options: RecoverOptions,
): Promise<void> {
  const {path} = client.parts;
  const own = path.columns.map.groups.find((candidate) => candidate.id === group)?.slots[slot];
  // An older map would not say whom the survivors keep their missed logs for.
  if (own?.state !== SLOT.recovering) throw new FsError('EAGAIN', `slot ${group}.${slot}`);
  const attempt = await Attempt.begin(client, group);
  const lacking = new Map(attempt.missed.get(slot)?.all);
  const add = (chunk: ChunkRef): void => {
    if (!options.done.has(chunkKey(chunk))) lacking.set(chunkKey(chunk), chunk);
  };
  for (const server of options.empty ? attempt.live : []) {
    if (server === slot) continue;
    for (const chunk of await listAll(path, group, server, 'columns')) add(chunk);
  }
  // What the others do not miss here, but the own log does not vouch for.
  options.intents.forEach(add);
  const torn = new Set(options.intents.map(chunkKey));
  // First what others lack, too.
  const endangered = ([key]: [string, ChunkRef]): number =>
    [...attempt.missed].filter(([other, {all}]) => other !== slot && all.has(key)).length;
  const worst = Map.groupBy(lacking, endangered);
  const order = [...worst.keys()].sort((a, b) => b - a);
  const all = order.flatMap((count) => worst.get(count)!.map(([, chunk]) => chunk));
  await eachObject(all, options, async (oid, chunks) => {
    let gone = false;
    for (const ref of chunks) {
      const done = nothingDone();
      // One at a time, or less: a lease that is wanted goes in between.
      for (;;) {
        gone = await underLease(client, oid, (held) =>
          recoverChunk(attempt, held, ref, slot, {torn, pace: options.pace, done}),
        );
        if (gone || done.all) break;
        await options.pace?.wait(options.stopped);
        if (options.stopped()) throw new FsError('ECANCELED', 'the repair was stopped');
      }
      if (gone) break;
    }
    // An object that is not there may never have been, and be made and written before a removal comes: the sweep sees to columns.
    if (!gone) await client.parts.syncer.sync(client.parts.holder.get(oid), true);
    for (const server of attempt.live) {
      if (server === slot) continue;
      const {epoch} = attempt;
      await path.columns.call(group, server, OPS.missedClear, {slot, chunks, epoch});
    }
    for (const ref of chunks) options.done.add(chunkKey(ref));
  });
  await sweep(attempt, slot);
}

/** Until `done.all`, or others want the object. */
async function recoverChunk(
  attempt: Attempt,
  held: Held,
  ref: ChunkRef,
  slot: number,
  options: {torn: ReadonlySet<string>; pace?: Pace | undefined; done: Rebuilt},
): Promise<void> {
  const {client, group, missed} = attempt;
  const {done} = options;
  const {map} = client.parts.path.columns;
  const layout = held.layout!;
  const {slots} = map.groups.find((one) => one.id === group)!;
  const column = slotColumn(held.oid, ref.chunk, slot, slots.length, layout);
  // What the object was moved from is nobody's.
  if (column === -1 || layout.generation !== ref.generation) {
    done.all = true;
    return;
  }
  const own = missed.get(slot);
  const lacking = own !== undefined && lacks(locate(map, layout, held.oid, ref.chunk), slot, own);
  const {distrusted, columns, final} = trustOf(map, layout, ref, missed, slot);
  if (lacking && columns < layout.k && !final) throw tooFew(ref);
  if (lacking || columns >= layout.k) {
    const how = {lacks: lacking, whole: options.torn.has(chunkKey(ref)), pace: options.pace};
    await rebuildColumn(attempt.view(distrusted), held, ref.chunk, column, how, done);
    if (!done.all || !done.left) return;
  }
  // The others alone do not make it up. They may all have lost power, or none has seen it since: this column counts as theirs do.
  const others = new Set([...distrusted].filter((one) => one !== slot));
  const end = await resyncChunk(attempt.view(others), held, ref.chunk);
  if (end === null && !final) throw tooFew(ref);
  // What may be behind the size is cut by a resync only, which finds it by the doubt.
  if (end !== null && end > held.size) held.checked.delete(ref.chunk);
  done.all = true;
}

const tooFew = ({oid, chunk}: ChunkRef): FsError =>
  new FsError('EAGAIN', `object ${oid} chunk ${chunk}: too few columns until a server comes back`);

/** What the meta server says of these objects; of what it has never heard of nothing is gone: it may have come back with an old state. */
async function existence({parts}: OpenedClient, oids: readonly number[]): Promise<ExistsReply> {
  return (await parts.session.call(OPS.exists, {oids: [...oids]})).message;
}

const ended = ({missing, idsBelow}: ExistsReply): number[] =>
  missing.filter((oid) => oid < idsBelow);

/** Those of these chunks that are nobody's, of objects that were moved; as parts that may be removed. */
function left(said: ExistsReply, chunks: readonly ChunkRef[]): ObjectPart[] {
  const ownerOf = owners(said);
  const moved = new Set(said.parts.map(({oid}) => oid));
  return chunks
    .filter((id) => moved.has(id.oid) && ownerOf(id) === 'gone')
    .map(({oid, chunk, generation}) => ({oid, generation, from: chunk, to: chunk + 1}));
}

/**
 * Removes the columns that a server has of objects that are gone, or were moved: a removal that was acknowledged while the server was
 * away, or just before it lost power. What had a column before it was asked about has been there, and never is again.
 */
async function sweep(attempt: Attempt, server: number): Promise<void> {
  const {client, group} = attempt;
  const {path} = client.parts;
  const byOid = Map.groupBy(await listAll(path, group, server, 'columns'), ({oid}) => oid);
  const oids = [...byOid.keys()];
  for (let at = 0; at < oids.length; at += SWEEP_OIDS) {
    const some = oids.slice(at, at + SWEEP_OIDS);
    const said = await existence(client, some);
    const gone = {
      oids: ended(said),
      parts: left(
        said,
        some.flatMap((oid) => byOid.get(oid)!),
      ),
    };
    await removeFrom(attempt, [server], gone);
  }
}

async function removeFrom(
  attempt: Attempt,
  servers: readonly number[],
  {oids, parts}: {oids: readonly number[]; parts: readonly ObjectPart[]},
): Promise<void> {
  const {client, group} = attempt;
  const {columns} = client.parts.path;
  for (const server of servers) {
    const call = async (gone: {oids?: number[]; parts?: ObjectPart[]}): Promise<void> => {
      const {epoch} = attempt;
      await columns.call(group, server, OPS.remove, {epoch, ...gone});
    };
    for (let at = 0; at < oids.length; at += SWEEP_OIDS)
      await call({oids: oids.slice(at, at + SWEEP_OIDS)});
    for (let at = 0; at < parts.length; at += SWEEP_OIDS)
      await call({parts: parts.slice(at, at + SWEEP_OIDS)});
  }
}

/**
 * Carries out a resync order: every chunk that any server's intent log names is made consistent, synced and settled. EAGAIN: all
 * was done that can be while servers are away.
 */
export async function resyncGroup(
  client: OpenedClient,
  group: number,
  options: RepairOptions,
): Promise<void> {
  const {path} = client.parts;
  const attempt = await Attempt.begin(client, group);
  const chunks = new Map<string, ChunkRef>();
  for (const server of attempt.live) {
    for (const chunk of await listAll(path, group, server, 'intents'))
      chunks.set(chunkKey(chunk), chunk);
  }
  await resyncAll(attempt, [...chunks.values()], options);
  for (const server of attempt.live) await sweep(attempt, server);
}

async function resyncAll(
  attempt: Attempt,
  all: readonly ChunkRef[],
  options: RepairOptions,
): Promise<void> {
  const {client} = attempt;
  const {parts} = client;
  await eachObject(all, options, async (oid, chunks) => {
    let gone = false;
    let late: ChunkRef | null = null;
    const moved: ChunkRef[] = [];
    for (const ref of chunks) {
      gone = await underLease(client, oid, async (held) => {
        if (held.layout!.generation !== ref.generation) {
          await endMove(client, ref);
          moved.push(ref);
        } else if (!(await resyncOne(attempt, held, ref))) late = ref;
      });
      if (gone) break;
    }
    if (gone) {
      await removeFrom(attempt, attempt.live, {
        oids: ended(await existence(client, [oid])),
        parts: [],
      });
      return;
    }
    if (moved.length > 0) await dropMoved(attempt, oid, moved);
    await parts.syncer.sync(parts.holder.get(oid), true);
    await parts.syncer.settle();
    if (late !== null) throw tooFew(late);
  });
}

/** Whoever was moving the object there has died, or he would hold it now. */
async function endMove({parts}: OpenedClient, {oid, generation}: ChunkRef): Promise<void> {
  const {layout} = parts.holder.get(oid);
  const request = {oid, layout: {...layout!, groups: [...layout!.groups], generation}};
  try {
    await parts.session.call(OPS.relocate, {...request, begin: false, moved: false});
  } catch (error) {
    // It was ended before, or never begun.
    if (!(error instanceof FsError && error.errno === 'EAGAIN')) throw error;
  }
}

/** Chunks of generations that an object was moved from, or was to be moved to when that was given up: nobody settles them. */
async function dropMoved(attempt: Attempt, oid: number, chunks: ChunkRef[]): Promise<void> {
  const said = await existence(attempt.client, [oid]);
  await removeFrom(attempt, attempt.live, {oids: [], parts: left(said, chunks)});
}

/** False: it takes a server that is away. */
async function resyncOne(attempt: Attempt, held: Held, ref: ChunkRef): Promise<boolean> {
  const {client, missed} = attempt;
  const {parts} = client;
  const {map} = parts.path.columns;
  const layout = held.layout!;
  const {distrusted, final} = trustOf(map, layout, ref, missed, -1);
  const end = await resyncChunk(attempt.view(distrusted), held, ref.chunk);
  if (end === null) return final;
  if (end <= held.size || !(await holdsMore(attempt.view(distrusted), held, end))) return true;
  // Bytes beyond the size: their writer died before it could say how long the object is.
  held.flushedSize = Math.max(held.flushedSize, end);
  const chunk = Math.floor(held.size / chunkDataBytes(layout));
  const last = trustOf(map, layout, {...ref, chunk}, missed, -1);
  await cut({...parts, path: attempt.view(last.distrusted)}, held, held.size);
  return true;
}

/** True: the object is gone, or no file. Its lease goes back at once, since a program may be waiting for it. */
export async function underLease(
  client: OpenedClient,
  oid: number,
  work: (held: Held) => Promise<void>,
): Promise<boolean> {
  const {holder} = client.parts;
  let begun = false;
  try {
    const run = (held: Held): Promise<void> => {
      begun = true;
      return held.exclusive(() => work(held));
    };
    // What is beyond the size is the repair's own business.
    await holder.use(oid, LEASE.write, run, EVERYTHING, true);
    return false;
  } catch (error) {
    // A server's intents come by neighbouring objects, and some of those are directories.
    if (error instanceof FsError && error.errno === 'EINVAL' && !begun) return true;
    if (error instanceof FsError && ['ENOENT', 'ESTALE'].includes(error.errno)) return true;
    throw error;
  }
}

/** Chunks of one object one after the other, a few objects at a time. Rejects with the first failure when all have
 * ended. */
async function eachObject(
  chunks: readonly ChunkRef[],
  options: RepairOptions,
  work: (oid: number, chunks: ChunkRef[]) => Promise<void>,
): Promise<void> {
  const byObject = Map.groupBy(chunks, (chunk) => chunk.oid);
  const queue = [...byObject];
  let left = chunks.length;
  let failure: {error: unknown} | null = null;
  let first: {error: unknown} | null = null;
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      if (failure !== null) return;
      if (options.stopped()) throw new FsError('ECANCELED', 'the repair was stopped');
      options.progress?.(left);
      await options.pace?.next(options.stopped);
      try {
        await work(next[0], next[1]);
        left -= next[1].length;
      } catch (error) {
        // One that cannot be done now keeps none of the others waiting; what ends the attempt does.
        if (error instanceof Lost) throw error;
        first ??= {error};
      }
    }
  };
  const workers = Array.from({length: PARALLEL}, () =>
    worker().catch((error: unknown) => {
      failure ??= {error};
    }),
  );
  await Promise.all(workers);
  failure ??= first;
  if (failure !== null) {
    const {error} = failure as {error: unknown};
    throw error instanceof FsError ? error : new FsError('EIO', messageOf(error), {cause: error});
  }
  options.progress?.(0);
}
