import {BLOCK_BYTES, KIB} from '../base/units.js';
import {readable} from '../cluster/map.js';
import {sleep} from '../env/clock.js';
import type {ChunkRef, ColumnSums, SumsItem} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import {storedSums} from './blocks.js';
import {LOST_SUM, READ_LATE_MS, readColumn, sumAt} from './column-io.js';
import type {BytePath} from './columns.js';
import {type ChunkPlace, columnRef, locate} from './place.js';

/** A column of the server whose scrub it is. */
export interface OwnColumn extends ChunkRef {
  column: number;
  k: number;
  m: number;
  unitBytes: number;
  bytes: number;
}

/** Blocks of a chunk of which the columns do not agree; numbers of blocks in each column. */
export interface Doubtful {
  id: ChunkRef;
  rows: number[];
}

export interface Compared {
  suspects: Doubtful[];
  /** In doubt, or not all of its servers are there. */
  busy: ChunkRef[];
}

/** A write reaches all columns within this, if nothing is wrong; if it takes longer, a lease is taken in vain. */
const WRITTEN_MS = 300;
/** Of one request, as the server limits it. */
const SUM_BYTES_MAX = 64 * KIB;
const ITEMS_MAX = 128;
/** Of data that is computed with at a time. */
const DEEP_BYTES = 64 * KIB;

/** A range of one column, and what is to be asked of the others about it. */
interface Window {
  own: OwnColumn;
  place: ChunkPlace;
  offset: number;
  blocks: number;
}

type Pace = (bytes: number) => Promise<boolean>;

/**
 * Without any lease: the sums that redundancy covers against those of the data, and, `deep`, redundancy against what it should be. What does not
 * agree is looked at twice, and counts only if nothing has changed in between; only then is its object's lease worth taking.
 * Rejects as calls do.
 */
export async function compareColumns(
  path: BytePath,
  group: number,
  slot: number,
  columns: readonly OwnColumn[],
  deep: boolean,
  pace: Pace,
): Promise<Compared> {
  const found: Compared = {suspects: [], busy: []};
  const {map} = path.columns;
  const windows: Window[] = [];
  const slots = map.groups.find(({id}) => id === group)?.slots.length ?? 0;
  for (const own of columns) {
    const {k, m, unitBytes, oid, chunk, generation} = own;
    if (m === 0 || own.bytes === 0 || k + m > slots) continue;
    const layout = {k, m, unitBytes, chunkBytes: k * unitBytes, groups: [group], generation};
    const place = locate(map, layout, oid, chunk);
    // It lies where nobody looks for it.
    if (place.slots[own.column] !== slot) continue;
    if (place.infos.every(readable)) windows.push(...windowsOf(own, place));
    else found.busy.push(refOf(own));
  }
  for (const batch of batchesOf(windows)) await compareBatch(path, batch, deep, pace, found);
  return found;
}

const refOf = ({oid, chunk, generation}: ChunkRef): ChunkRef => ({oid, chunk, generation});

const sumBytes = ({own}: Window): number => (own.column < own.k ? 0 : 4 * (1 + own.k));

function windowsOf(own: OwnColumn, place: ChunkPlace): Window[] {
  // What redundancy covers it says itself; of a data column only whether there is as much redundancy.
  if (own.column < own.k) return [{own, place, offset: 0, blocks: 0}];
  const most = Math.floor(SUM_BYTES_MAX / (4 * (1 + own.k)));
  const windows: Window[] = [];
  const count = own.bytes / BLOCK_BYTES;
  for (let first = 0; first < count; first += most)
    windows.push({
      own,
      place,
      offset: first * BLOCK_BYTES,
      blocks: Math.min(most, count - first),
    });
  return windows;
}

function* batchesOf(windows: readonly Window[]): Generator<Window[]> {
  let batch: Window[] = [];
  let bytes = 0;
  for (const window of windows) {
    const more = window.blocks * sumBytes(window);
    if (batch.length > 0 && (batch.length === ITEMS_MAX || bytes + more > SUM_BYTES_MAX)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(window);
    bytes += more;
  }
  if (batch.length > 0) yield batch;
}

/** What the columns of a window say, by column; missing where they were not asked. */
type Said = Map<number, ColumnSums>;

async function compareBatch(
  path: BytePath,
  batch: readonly Window[],
  deep: boolean,
  pace: Pace,
  found: Compared,
): Promise<void> {
  const first = await ask(path, batch);
  const again: {window: Window; said: Said; rows: number[]}[] = [];
  for (const [index, window] of batch.entries()) {
    const said = first[index]!;
    const rows = isUseless(said) ? null : await rowsOf(path, window, said, deep, pace);
    if (rows === null) found.busy.push(refOf(window.own));
    else if (rows.length > 0) again.push({window, said, rows});
  }
  if (again.length === 0) return;
  // Most likely somebody was writing them just then, column after column.
  await sleep(path.clock, WRITTEN_MS);
  const windows = again.map(({window}) => window);
  const second = await ask(path, windows);
  for (const [index, {window, said, rows}] of again.entries()) {
    const now = second[index]!;
    const still = isUseless(now) ? null : await rowsOf(path, window, now, deep, pace);
    if (still === null) {
      found.busy.push(refOf(window.own));
      continue;
    }
    const both = rows.filter((row) => still.includes(row) && unchanged(window, row, said, now));
    if (both.length > 0) found.suspects.push({id: refOf(window.own), rows: both});
  }
}

const isUseless = (said: Said): boolean =>
  [...said.values()].some(({doubt, unreadable}) => doubt || unreadable);

/** Did all columns say the same of a row both times? */
function unchanged({offset}: Window, row: number, before: Said, after: Said): boolean {
  const block = row - offset / BLOCK_BYTES;
  return [...before].every(
    ([column, one]) => sumAtEnd(one.sums, block) === sumAtEnd(after.get(column)!.sums, block),
  );
}

/** The own columns first: what is written after they were asked shows in what the others say. */
async function ask(path: BytePath, windows: readonly Window[]): Promise<Said[]> {
  const said: Said[] = windows.map(() => new Map());
  await askSome(path, windows, said, ({own}) => [own.column]);
  await askSome(path, windows, said, ({own: {column, k, m}}) =>
    Array.from({length: column < k ? m : k}, (_, i) => (column < k ? k + i : i)),
  );
  return said;
}

async function askSome(
  path: BytePath,
  windows: readonly Window[],
  said: Said[],
  columnsOf: (window: Window) => number[],
): Promise<void> {
  const servers = new Map<number, {items: SumsItem[]; to: {index: number; column: number}[]}>();
  for (const [index, window] of windows.entries()) {
    const {place, offset, blocks} = window;
    for (const column of columnsOf(window)) {
      const slot = place.slots[column]!;
      const server = servers.get(slot) ?? {items: [], to: []};
      servers.set(slot, server);
      server.items.push({ref: columnRef(place, column), offset, blocks});
      server.to.push({index, column});
    }
  }
  const group = windows[0]!.place.group;
  await Promise.all(
    [...servers].map(async ([slot, {items, to}]) => {
      for (let at = 0; at < items.length; at += ITEMS_MAX) {
        path.stats.dataCalls++;
        const some = {items: items.slice(at, at + ITEMS_MAX)};
        const options = {deadlineMs: READ_LATE_MS};
        const {message} = await path.columns.call(group, slot, OPS.sums, some, options);
        for (const [nth, sums] of message.columns.entries()) {
          const target = to[at + nth];
          if (target !== undefined) said[target.index]!.set(target.column, sums);
        }
      }
    }),
  );
}

/** Rows that do not agree; null: they could not be read. */
async function rowsOf(
  path: BytePath,
  window: Window,
  said: Said,
  deep: boolean,
  pace: Pace,
): Promise<number[] | null> {
  const {own, offset, blocks} = window;
  const {column, k, m} = own;
  const mine = said.get(column)!;
  const rows = new Set<number>();
  if (column < k) {
    for (let parity = k; parity < k + m; parity++) {
      const end = said.get(parity)!.bytes;
      for (let at = end; at < mine.bytes; at += BLOCK_BYTES) rows.add(at / BLOCK_BYTES);
    }
    return [...rows];
  }
  for (let block = 0; block < blocks; block++) {
    for (let data = 0; data < k; data++) {
      const sum = sumAtEnd(said.get(data)!.sums, block);
      // The server that has a lost block says so itself.
      if (sum !== LOST_SUM && sum !== sumAtEnd(mine.covered, block * k + data))
        rows.add(offset / BLOCK_BYTES + block);
    }
  }
  if (deep && rows.size === 0) return deepRows(path, window, mine.sums, pace);
  return [...rows];
}

/** Blocks beyond the end of a column are zeros. */
const sumAtEnd = (sums: Uint8Array, index: number): number =>
  index * 4 < sums.length ? sumAt(sums, index) : 0;

/** Rows of which the redundancy is not that of the data; blocks that fail their sums are found by their own servers. */
async function deepRows(
  path: BytePath,
  {own, place, offset, blocks}: Window,
  sums: Uint8Array,
  pace: Pace,
): Promise<number[] | null> {
  const {k, m} = own;
  const {codec, pool, slots} = path;
  const rows: number[] = [];
  const end = offset + blocks * BLOCK_BYTES;
  for (let at = offset; at < end; at += DEEP_BYTES) {
    const length = Math.min(DEEP_BYTES, end - at);
    if (!(await pace(length * k))) return null;
    const owned: number[] = [];
    try {
      const reads = await Promise.allSettled(
        Array.from({length: k}, async (_, data) => {
          const got = await readColumn(path, place, data, at, length, false);
          if (got.slot !== -1) owned.push(got.slot);
          return got;
        }),
      );
      for (const read of reads) if (read.status === 'rejected') throw read.reason;
      const got = reads.map(
        (read) => (read as {value: Awaited<ReturnType<typeof readColumn>>}).value,
      );
      const zeros = pool.payload(await slots.zeros());
      const parities: number[] = [];
      for (let parity = 0; parity < m; parity++) {
        const slot = await slots.alloc(length);
        owned.push(slot);
        parities.push(pool.payload(slot));
      }
      const sources = got.map((one) => (one.slot === -1 ? zeros : one.memory));
      codec.encode(pool.memory, k, m, sources, parities, length);
      const wanted = storedSums(codec, pool.memory, parities[own.column - k]!, length);
      for (let block = 0; block * BLOCK_BYTES < length; block++) {
        if (got.some(({bad}) => bad?.includes(block))) continue;
        const row = at / BLOCK_BYTES + block;
        if (sumAt(wanted, block) !== sumAtEnd(sums, row - offset / BLOCK_BYTES)) rows.push(row);
      }
    } finally {
      for (const slot of owned) pool.release(slot);
    }
  }
  return rows;
}
