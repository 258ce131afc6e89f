import {FsError, Lost, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {BLOCK_BYTES} from '../base/units.js';
import {readable} from '../cluster/map.js';
import {sleep} from '../env/clock.js';
import type {Layout} from '../layout/scheme.js';
import {chunkDataBytes, columnBytes} from '../layout/stripe.js';
import {EVERYTHING} from '../lease/ranges.js';
import {LEASE, OPS} from '../protocol/ops.js';
import {storedSums} from './blocks.js';
import {
  type ColumnData,
  isRefused,
  READ_LATE_MS,
  readColumn,
  settleRefusal,
  sumAt,
} from './column-io.js';
import type {BytePath} from './columns.js';
import type {Held} from './held.js';
import type {OpenedClient} from './index.js';
import {type ChunkPlace, columnReadable, columnRef, locate} from './place.js';
import {nothingDone, rebuildColumn} from './rebuild.js';
import {groupSignature, listAll, liveSlots, trusting} from './repair-path.js';
import {columnLengths, endOf} from './resync.js';
import {cut} from './truncate.js';

/** So much of each column is looked at at a time: a medium slot. */
const WINDOW_BYTES = 128 * 1024;
/** Maps under which one look is tried. */
const TRIES = 5;
/** What was written is synced and settled within some seconds, and what is in doubt is compared soon after. */
const PENDING_TRIES = 5;
const PENDING_MS: Ms = 3_000;

/**
 * What is wrong with a column. missing: it is not there, though it should have something; wrong: it is another one, or its header is illegible;
 * bad: blocks fail their sums; stale: blocks are not those that the redundancy was made of; redundancy: blocks are not the redundancy of the
 * data; long: it goes on behind the end of the object.
 */
export interface ColumnFault {
  column: number;
  kind: 'missing' | 'wrong' | 'bad' | 'stale' | 'redundancy' | 'long';
  blocks: number;
}

export interface ChunkLook {
  place: ChunkPlace;
  faults: ColumnFault[];
  /** Columns that could not be looked at. */
  unseen: number[];
  /** False: nothing that is left can tell what is missing, so nothing is made anew. */
  mendable: boolean;
}

/** What a check came to. pending: its writers, or a resync, have not finished with it; gone: the object is not there any more. */
export type ChunkVerdict =
  | {state: 'pending'}
  | {state: 'gone'}
  | {state: 'looked'; look: ChunkLook};

/** What is known of one column while rows are compared. */
interface Tally {
  present: boolean;
  seen: boolean;
  wrong: boolean;
  bytes: number;
  bad: number;
  stale: number;
  redundancy: number;
}

interface Whole {
  oid: number;
  layout: Layout;
  size: number;
}

/**
 * Compares everything that the columns of a chunk have. Without the object's lease what it finds may be on its way. Rejects with Refusal if the
 * map has changed.
 */
async function inspect(
  path: BytePath,
  {oid, layout, size}: Whole,
  chunk: number,
): Promise<ChunkLook> {
  const {k, m} = layout;
  const place = locate(path.columns.map, layout, oid, chunk);
  const tallies = await Promise.all(place.slots.map((_slot, column) => stat(path, place, column)));
  const most = Math.max(...tallies.map(({bytes}) => bytes));
  for (let offset = 0; offset < most; offset += WINDOW_BYTES)
    await compare(path, place, tallies, offset, Math.min(WINDOW_BYTES, most - offset));
  const length = Math.min(
    chunkDataBytes(layout),
    Math.max(0, size - chunk * chunkDataBytes(layout)),
  );
  const faults = tallies.flatMap((tally, column): ColumnFault[] => {
    const expected = columnBytes(layout, column, length);
    if (tally.bytes > expected) {
      const blocks = (tally.bytes - expected) / BLOCK_BYTES;
      return [{column, kind: 'long', blocks}];
    }
    return faultsOf(column, tally);
  });
  const able = tallies.slice(k).some(({present, seen}) => present && seen);
  const lacking = tallies.some(({present, wrong}, column) => {
    return column < k && (!present || wrong) && columnBytes(layout, column, length) > 0;
  });
  return {
    place,
    faults,
    unseen: tallies.flatMap(({seen, wrong}, column) => (seen || wrong ? [] : [column])),
    // A column that is not there is a hole or lost: only redundancy can tell.
    mendable: m > 0 && (able || !lacking),
  };
}

function faultsOf(column: number, tally: Tally): ColumnFault[] {
  const {present, wrong, bad, stale, redundancy} = tally;
  if (wrong) return [{column, kind: 'wrong', blocks: 0}];
  if (!present) {
    const blocks = bad + stale + redundancy;
    return blocks > 0 ? [{column, kind: 'missing', blocks}] : [];
  }
  const kinds = {bad, stale, redundancy};
  return (['bad', 'stale', 'redundancy'] as const).flatMap((kind) =>
    kinds[kind] > 0 ? [{column, kind, blocks: kinds[kind]}] : [],
  );
}

async function stat(path: BytePath, place: ChunkPlace, column: number): Promise<Tally> {
  const none = {
    present: false,
    seen: false,
    wrong: false,
    bytes: 0,
    bad: 0,
    stale: 0,
    redundancy: 0,
  };
  if (!columnReadable(place, column)) return none;
  path.stats.dataCalls++;
  try {
    const {message} = await path.columns.call(
      place.group,
      place.slots[column]!,
      OPS.stat,
      {ref: columnRef(place, column)},
      {deadlineMs: READ_LATE_MS},
    );
    return {
      ...none,
      seen: true,
      present: message.present,
      bytes: message.present ? message.bytes : 0,
    };
  } catch (error) {
    if (error instanceof Lost) return none;
    if (error instanceof FsError && error.errno === 'EIO')
      return {...none, present: true, wrong: true};
    throw error;
  }
}

async function compare(
  path: BytePath,
  place: ChunkPlace,
  tallies: Tally[],
  offset: number,
  length: number,
): Promise<void> {
  const {k, m} = place.layout;
  const rows = new Array<ColumnData | null>(k + m).fill(null);
  try {
    const reads = await Promise.allSettled(
      rows.map(async (_row, column) => {
        const {seen} = tallies[column]!;
        if (seen) rows[column] = await readColumn(path, place, column, offset, length, column >= k);
      }),
    );
    for (const [column, read] of reads.entries()) {
      if (read.status === 'fulfilled') continue;
      if (!(read.reason instanceof Lost)) throw read.reason;
      tallies[column]!.seen = false;
    }
    const whole = rows.map((row) => row?.bad ?? []).map((bad) => new Set(bad));
    for (const [column, bad] of whole.entries()) tallies[column]!.bad += bad.size;
    const odd = covers(rows, whole, tallies, place.layout, length);
    if (m > 0 && rows.slice(0, k).every((row) => row !== null))
      await encodes(path, place.layout, rows, {whole, odd, tallies, length});
  } finally {
    for (const row of rows) if (row !== null && row.slot !== -1) path.pool.release(row.slot);
  }
}

/** Does the redundancy cover the sums of the data blocks? Resolves with the rows in which some does not. */
function covers(
  rows: readonly (ColumnData | null)[],
  bad: readonly ReadonlySet<number>[],
  tallies: readonly Tally[],
  {k, m}: Layout,
  length: number,
): Set<number> {
  const odd = new Set<number>();
  for (let block = 0; block * BLOCK_BYTES < length; block++) {
    const against = new Set<number>();
    for (let column = 0; column < k; column++) {
      const row = rows[column];
      if (!row || bad[column]!.has(block)) continue;
      const sum = sumAt(row.sums, block);
      const judges: number[] = [];
      let agree = 0;
      for (let parity = k; parity < k + m; parity++) {
        const its = rows[parity];
        if (!its || bad[parity]!.has(block)) continue;
        if (sumAt(its.covered, block * k + column) === sum) agree++;
        else judges.push(parity);
      }
      if (judges.length === 0) continue;
      odd.add(block);
      // Zeros where all redundancy covers something: the block was lost. Something where none covers anything: redundancy was.
      const lost = agree === 0 && (sum === 0 || judges.length > 1);
      const none = judges.every((parity) => !tallies[parity]!.present);
      if (lost && !none) tallies[column]!.stale++;
      else for (const parity of judges) against.add(parity);
    }
    for (const parity of against) tallies[parity]!.redundancy++;
  }
  return odd;
}

/** Is the redundancy that of the data, byte for byte, in the rows where it covers it? */
async function encodes(
  path: BytePath,
  {k, m}: Layout,
  rows: readonly (ColumnData | null)[],
  {
    whole,
    odd,
    tallies,
    length,
  }: {
    whole: readonly ReadonlySet<number>[];
    odd: ReadonlySet<number>;
    tallies: readonly Tally[];
    length: number;
  },
): Promise<void> {
  const {pool, slots, codec} = path;
  const owned: number[] = [];
  try {
    const zeros = pool.payload(await slots.zeros());
    for (let parity = 0; parity < m; parity++) owned.push(await slots.alloc(length));
    const sources = rows.slice(0, k).map((row) => (row!.slot === -1 ? zeros : row!.memory));
    const parities = owned.map((slot) => pool.payload(slot));
    codec.encode(pool.memory, k, m, sources, parities, length);
    for (const [parity, memory] of parities.entries()) {
      const row = rows[k + parity];
      if (!row) continue;
      const sums = storedSums(codec, pool.memory, memory, length);
      for (let block = 0; block * BLOCK_BYTES < length; block++) {
        const known = !odd.has(block) && whole.every((bad) => !bad.has(block));
        if (known && sumAt(sums, block) !== sumAt(row.sums, block))
          tallies[k + parity]!.redundancy++;
      }
    }
  } finally {
    for (const slot of owned) pool.release(slot);
  }
}

/** As `inspect`, under whatever map there is. */
async function inspected(path: BytePath, whole: Whole, chunk: number): Promise<ChunkLook> {
  for (let left = TRIES; ; left--) {
    try {
      return await inspect(path, whole, chunk);
    } catch (error) {
      if (!isRefused(error) || left === 0) throw error;
      await settleRefusal(path, locate(path.columns.map, whole.layout, whole.oid, chunk), error);
    }
  }
}

/** The columns have nothing of it that anybody can have seen. */
const inlined = (held: Held): boolean => held.inlineBytes > 0 && held.size <= held.inlineBytes;

/**
 * Compares the columns of one chunk. What looks wrong is looked at again while nobody may write the object, and not believed as long as
 * any server has the chunk among its intents.
 */
export async function checkChunk(
  client: OpenedClient,
  whole: Whole,
  chunk: number,
): Promise<ChunkVerdict> {
  const {path, holder} = client.parts;
  const first = await inspected(path, whole, chunk);
  if (first.faults.length === 0) return {state: 'looked', look: first};
  for (let left = PENDING_TRIES; left > 0; left--) {
    try {
      const look = await holder.use(
        whole.oid,
        LEASE.read,
        async (held) => (inlined(held) ? null : await inspected(path, wholeOf(held), chunk)),
        EVERYTHING,
        true,
      );
      if (look === null) return {state: 'gone'};
      if (look.faults.length === 0 || !(await isIntent(path, look.place)))
        return {state: 'looked', look};
    } catch (error) {
      if (isGone(error)) return {state: 'gone'};
      throw error;
    }
    await sleep(path.clock, PENDING_MS);
  }
  return {state: 'pending'};
}

const wholeOf = (held: Held): Whole => ({oid: held.oid, layout: held.layout!, size: held.size});
const isGone = (error: unknown): boolean =>
  error instanceof FsError && ['ENOENT', 'ESTALE', 'EINVAL'].includes(error.errno);

async function isIntent(
  path: BytePath,
  {oid, chunk, generation, group}: ChunkPlace,
): Promise<boolean> {
  for (const slot of liveSlots(path.columns.map, group)) {
    const found = await listAll(path, group, slot, 'intents', 0, oid);
    if (found.some((one) => one.chunk === chunk && one.generation === generation)) return true;
  }
  return false;
}

/**
 * Makes anew what is wrong with the columns of a chunk, from the others, under the object's lease. Resolves with what is wrong then. EAGAIN: not
 * all of its servers are there; others must not be taken for what it is made from.
 */
export async function mendChunk(
  client: OpenedClient,
  oid: number,
  chunk: number,
): Promise<ChunkVerdict> {
  const {path, holder, syncer} = client.parts;
  try {
    const mend = (held: Held): Promise<void> => held.exclusive(() => mendHeld(client, held, chunk));
    await holder.use(oid, LEASE.write, mend, EVERYTHING, true);
    await syncer.sync(holder.get(oid), true);
    await syncer.settle();
    const look = await holder.use(
      oid,
      LEASE.read,
      (held) => inspected(path, wholeOf(held), chunk),
      EVERYTHING,
      true,
    );
    return {state: 'looked', look};
  } catch (error) {
    if (isGone(error)) return {state: 'gone'};
    throw error instanceof FsError ? error : new FsError('EIO', messageOf(error), {cause: error});
  }
}

async function mendHeld(client: OpenedClient, held: Held, chunk: number): Promise<void> {
  const {parts} = client;
  const {path} = parts;
  const {layout, oid} = held;
  if (layout === null || inlined(held)) return;
  const {place, faults, mendable} = await inspected(path, wholeOf(held), chunk);
  const {group, slots} = place;
  if (!place.infos.every(readable))
    throw new FsError('EAGAIN', `a server of group ${group} is away`);
  const signature = groupSignature(path.columns.map, group);
  const view = (distrusted: readonly number[]): BytePath =>
    trusting(path, group, new Set(distrusted.map((column) => slots[column]!)), signature);
  if (faults.some(({kind}) => kind === 'long')) {
    const all = view([]);
    const end = endOf(layout, chunk, await columnLengths(all, place));
    held.flushedSize = Math.max(held.flushedSize, end);
    await cut({...parts, path: all}, held, held.size);
    parts.readAhead.forget(oid);
  }
  if (!mendable) return;
  for (const {column, kind} of faults) {
    if (kind === 'long') continue;
    const slot = slots[column]!;
    if (kind === 'wrong') {
      const request = {epoch: place.epoch, column: {oid, chunk, generation: place.generation}};
      await path.columns.call(group, slot, OPS.removeColumn, request);
    }
    // What is not there has nothing that could be shown to be right: a block of it that cannot be made is lost, not zeros.
    const lacks = kind === 'wrong' || kind === 'missing';
    await rebuildColumn(view([column]), held, chunk, column, {lacks, whole: true}, nothingDone());
  }
}

/**
 * Removes a column from a server on which it does not belong, while nobody may write the object. EAGAIN: the chunk is not whole where it belongs, so
 * this may be all that there is of it.
 */
export async function removeStray(
  client: OpenedClient,
  group: number,
  slot: number,
  column: {oid: number; chunk: number; generation: number},
): Promise<void> {
  const {path, holder} = client.parts;
  const {oid, chunk} = column;
  const remove = async (held: Held): Promise<void> => {
    const {layout, size} = held;
    if (layout === null || inlined(held)) throw new FsError('EAGAIN', `object ${oid}`);
    const place = locate(path.columns.map, layout, oid, chunk);
    const start = chunk * chunkDataBytes(layout);
    const length = Math.min(chunkDataBytes(layout), Math.max(0, size - start));
    const bytes = await columnLengths(path, place);
    if (bytes.some((one, at) => one < columnBytes(layout, at, length)))
      throw new FsError('EAGAIN', `object ${oid} chunk ${chunk} is not whole where it belongs`);
    const {epoch} = path.columns.map;
    await path.columns.call(group, slot, OPS.removeColumn, {epoch, column});
  };
  await holder.use(oid, LEASE.write, remove, EVERYTHING, true);
}
