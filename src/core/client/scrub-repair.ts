import {alignDown, BLOCK_BYTES, KIB} from '../base/units.js';
import {readable, writable} from '../cluster/map.js';
import {objectOffset} from '../layout/stripe.js';
import type {ChunkRef, LostRange} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import {storedSums} from './blocks.js';
import {type ColumnData, READ_LATE_MS, readColumn, sumAt} from './column-io.js';
import type {BytePath} from './columns.js';
import type {Held} from './held.js';
import type {OpenedClient} from './index.js';
import {type ChunkPlace, columnRef, locate} from './place.js';
import {coveredSums, put} from './rebuild.js';
import {solve} from './reconstruct.js';
import {underLease} from './repair.js';
import {groupSignature, trusting} from './repair-path.js';
import {liveMask} from './resync.js';
import {touch, unsynced} from './unsynced.js';

/** So much of each column is judged at a time. */
const WINDOW_BYTES = 64 * KIB;
/** Windows under one lease: whoever wants it has to have it within 10 s. */
const WINDOWS_AT_ONCE = 16;
const NOBODY: ReadonlySet<number> = new Set();

export interface Verdict {
  is: 'done' | 'later' | 'gone';
  bad: number;
  repaired: number;
  lost: number;
  ranges: LostRange[];
}

/** One chunk whose blocks are judged. */
interface Case {
  path: BytePath;
  held: Held;
  place: ChunkPlace;
  /** Of the server whose scrub it is: what is lost is counted by the server that has lost it. */
  slot: number;
  verdict: Verdict;
}

/**
 * Judges `rows` of a chunk, under its object's write lease, when all of its servers are there and none has it in doubt: a block that fails its sum, or is
 * certainly not what redundancy covers, is made again from the others; then redundancy that is not that of the data is. What cannot be
 * made again stays as it is, EIO, and so does the redundancy of its row: nothing is made from what is bad. Goes into `verdict`. Rejects as calls
 * do; may be begun again.
 */
export async function scrubChunk(
  client: OpenedClient,
  group: number,
  slot: number,
  {oid, chunk, generation}: ChunkRef,
  rows: readonly number[],
  verdict: Verdict,
): Promise<void> {
  const {path: mine, syncer, holder} = client.parts;
  const path = trusting(mine, group, NOBODY, groupSignature(mine.columns.map, group));
  const starts = rows.map((row) => alignDown(row * BLOCK_BYTES, WINDOW_BYTES));
  const windows = [...new Set(starts)].sort((a, b) => a - b);
  while (windows.length > 0) {
    let judged = false;
    let moved = false;
    const gone = await underLease(client, oid, async (held) => {
      const layout = held.layout!;
      moved = layout.generation !== generation;
      if (moved) return;
      // As it is, not as a repair would have it: what recovers is the recovery's business.
      const place = locate(mine.columns.map, layout, oid, chunk);
      if (place.group !== group || !place.infos.every(readable)) return;
      if (await doubted(path, place)) return;
      const one = {path, held, place: locate(path.columns.map, layout, oid, chunk), slot, verdict};
      for (const offset of windows.splice(0, WINDOWS_AT_ONCE)) await judgeWindow(one, offset);
      judged = true;
    });
    if (gone || moved) {
      verdict.is = 'gone';
      return;
    }
    if (!judged) return;
    await syncer.sync(holder.get(oid), true);
    await syncer.settle();
  }
  if (windows.length === 0) verdict.is = 'done';
}

/**
 * Is there a server, of those that are there, that knows of a change which was not finished? Else the columns agree, under the lease: whoever had it before has written what
 * he had begun, or has said that he has not, before he gave it up.
 */
export async function doubted(path: BytePath, place: ChunkPlace): Promise<boolean> {
  const answers = await Promise.all(
    place.slots.map(async (slot, column) => {
      if (!writable(place.infos[column]!)) return null;
      path.stats.dataCalls++;
      const items = [{ref: columnRef(place, column), offset: 0, blocks: 0}];
      return path.columns.call(place.group, slot, OPS.sums, {items}, {deadlineMs: READ_LATE_MS});
    }),
  );
  return answers.some((answer) => answer?.message.columns.some(({doubt}) => doubt) === true);
}

async function judgeWindow(one: Case, offset: number): Promise<void> {
  const {path, place} = one;
  const {k, m} = place.layout;
  const rows: ColumnData[] = [];
  try {
    const reads = await Promise.allSettled(
      Array.from({length: k + m}, async (_, column) => {
        rows[column] = await readColumn(path, place, column, offset, WINDOW_BYTES, column >= k);
      }),
    );
    // Only now: what the others read is known, and so will be released.
    for (const read of reads) if (read.status === 'rejected') throw read.reason;
    const zeros = path.pool.payload(await path.slots.zeros());
    for (let column = 0; column < k; column++) await judgeData(one, rows, column, offset, zeros);
    if (m > 0) await judgeRedundancy(one, rows, offset, zeros);
  } finally {
    for (const row of rows) if (row !== undefined && row.slot !== -1) path.pool.release(row.slot);
  }
}

const isBad = ({bad}: ColumnData, block: number): boolean => bad?.includes(block) === true;

/** Blocks of a data column that fail their sums, or are not what they should be; in `rows`, too. */
async function judgeData(
  one: Case,
  rows: ColumnData[],
  column: number,
  offset: number,
  zeros: number,
): Promise<void> {
  const row = rows[column]!;
  for (let block = 0; block * BLOCK_BYTES < WINDOW_BYTES; block++) {
    const fails = isBad(row, block);
    if (!fails && !outdated(one.place, rows, column, block)) continue;
    if (!fails) row.bad = [...(row.bad ?? []), block];
    const mended = await mendBlock(one, rows, column, block, offset, zeros);
    if (mended || !fails) row.bad = without(row.bad, block);
    if (mended) found(one, column, offset + block * BLOCK_BYTES, fails ? 'data' : 'old data');
    else if (fails) lost(one, column, offset + block * BLOCK_BYTES);
  }
}

function without(bad: number[] | null, block: number): number[] | null {
  const left = bad?.filter((other) => other !== block) ?? [];
  return left.length === 0 ? null : left;
}

/**
 * Has it the right sum of wrong bytes? All redundancy covers another block, and more than one column says so; or the block was never
 * written here, as far as its file knows, so that the file, or its end, is lost. Else the data counts, since programs have read it.
 */
function outdated(
  {layout: {k, m}}: ChunkPlace,
  rows: readonly ColumnData[],
  column: number,
  block: number,
): boolean {
  const sum = sumAt(rows[column]!.sums, block);
  const others: number[] = [];
  for (let parity = k; parity < k + m; parity++) {
    const row = rows[parity]!;
    if (!isBad(row, block)) others.push(sumAt(row.covered, block * k + column));
  }
  if (others.length === 0 || others.some((other) => other === sum || other !== others[0]))
    return false;
  return others.length > 1 || sum === 0;
}

/** Makes a block again that is marked as bad, if the others can; here and on its server. */
async function mendBlock(
  {path, held, place}: Case,
  rows: ColumnData[],
  column: number,
  block: number,
  offset: number,
  zeros: number,
): Promise<boolean> {
  const {pool, slots, codec} = path;
  const row = rows[column]!;
  const at = block * BLOCK_BYTES;
  const slot = await slots.alloc(BLOCK_BYTES);
  try {
    const memory = pool.payload(slot);
    if (!solve(path, place, column, rows, at, BLOCK_BYTES, memory, zeros)) return false;
    const entry = unsynced(path, liveMask(place));
    touch(held, place.chunk, entry);
    await put(path, place, column, offset + at, BLOCK_BYTES, {slot, memory}, null);
    touch(held, place.chunk, entry);
    if (row.slot === -1) {
      row.slot = await slots.alloc(WINDOW_BYTES);
      row.memory = pool.payload(row.slot);
      pool.bytes.fill(0, row.memory, row.memory + WINDOW_BYTES);
    }
    pool.bytes.copyWithin(row.memory + at, memory, memory + BLOCK_BYTES);
    const sums = new Uint8Array((WINDOW_BYTES / BLOCK_BYTES) * 4);
    sums.set(row.sums);
    sums.set(storedSums(codec, pool.memory, memory, BLOCK_BYTES), block * 4);
    row.sums = sums;
    return true;
  } finally {
    pool.release(slot);
  }
}

/** Redundancy of rows whose data is good, if it is not that of the data. */
async function judgeRedundancy(
  one: Case,
  rows: readonly ColumnData[],
  offset: number,
  zeros: number,
): Promise<void> {
  const {path, held, place} = one;
  const {k, m} = place.layout;
  const {codec, pool, slots} = path;
  const data = rows.slice(0, k);
  const sources = data.map((row) => (row.slot === -1 ? zeros : row.memory));
  const owned: number[] = [];
  try {
    for (let parity = 0; parity < m; parity++) owned.push(await slots.alloc(WINDOW_BYTES));
    const parities = owned.map((slot) => pool.payload(slot));
    codec.encode(pool.memory, k, m, sources, parities, WINDOW_BYTES);
    const covered = coveredSums(path, sources, WINDOW_BYTES);
    for (const [parity, memory] of parities.entries()) {
      const row = rows[k + parity]!;
      const sums = storedSums(codec, pool.memory, memory, WINDOW_BYTES);
      for (let block = 0; block * BLOCK_BYTES < WINDOW_BYTES; block++) {
        if (data.some((other) => isBad(other, block))) {
          // It can be made again when the data can.
          if (isBad(row, block) && one.slot === place.slots[k + parity]) one.verdict.bad++;
          continue;
        }
        const its = covered.subarray(block * k * 4, (block + 1) * k * 4);
        const same = Array.from({length: k}, (_, i) => sumAt(its, i)).every(
          (sum, i) => sum === sumAt(row.covered, block * k + i),
        );
        if (!isBad(row, block) && same && sumAt(sums, block) === sumAt(row.sums, block)) continue;
        const at = block * BLOCK_BYTES;
        const piece = {slot: owned[parity]!, memory: memory + at};
        const entry = unsynced(path, liveMask(place));
        touch(held, place.chunk, entry);
        await put(path, place, k + parity, offset + at, BLOCK_BYTES, piece, its);
        touch(held, place.chunk, entry);
        found(one, k + parity, offset + at, isBad(row, block) ? 'redundancy' : 'old redundancy');
      }
    }
  } finally {
    for (const slot of owned) pool.release(slot);
  }
}

function found({path, place, verdict}: Case, column: number, offset: number, what: string): void {
  verdict.bad++;
  verdict.repaired++;
  const {oid, chunk, slots} = place;
  path.log.warn('scrub.repaired', {oid, chunk, column, slot: slots[column], offset, what});
}

function lost({path, held, place, slot, verdict}: Case, column: number, offset: number): void {
  if (place.slots[column] !== slot) return;
  verdict.bad++;
  const {oid, chunk, layout} = place;
  // With copies every column has the bytes of the first one.
  const from = objectOffset(layout, chunk, column, offset);
  // Beyond its end a file has lost nothing.
  if (from >= held.size) return;
  verdict.lost++;
  const length = Math.min(BLOCK_BYTES, held.size - from);
  const last = verdict.ranges.at(-1);
  if (last !== undefined && last.offset + last.length === from) last.length += length;
  else verdict.ranges.push({oid, offset: from, length});
  path.log.error('scrub.lost', {oid, chunk, column, slot, offset, from, length});
}
