import {crc32c} from '../base/crc32c.js';
import {BLOCK_BYTES} from '../base/units.js';
import type {Scheme} from '../layout/scheme.js';
import type {SimDisk} from './disk.js';
import {addMultiple, reciprocal} from './galois.js';
import {SimFailure} from './scheduler.js';

/** docs/architecture.md, "A column file". Written down here a second time: a checker shares no code with what it checks. */
const HEADER_START = 2 ** 40;
const HEADER_BYTES = 4096;
const SUMS_START = HEADER_START + HEADER_BYTES;
const ZERO_SUM = crc32c(new Uint8Array(BLOCK_BYTES));
const COLUMN = /^columns\/[0-9a-f]{2}\/([0-9a-f]+)\.(\d+)\.([0-9a-f]+)$/;

interface Chunk {
  oid: number;
  chunk: number;
  /** Column -> where it is; a missing one is all zeros. */
  columns: Map<number, {disk: SimDisk; path: string}>;
}

/** Whose columns are on the disks. */
export function columnNames(disks: readonly SimDisk[]): {oid: number; generation: number}[] {
  return disks.flatMap((disk) =>
    [...disk.paths].flatMap((path) => {
      const match = COLUMN.exec(path);
      if (match === null) return [];
      return [{oid: Number.parseInt(match[1]!, 16), generation: Number.parseInt(match[3]!, 16)}];
    }),
  );
}

/** Oids of which some column is on a disk. */
export const columnOids = (disks: readonly SimDisk[]): Set<number> =>
  new Set(columnNames(disks).map(({oid}) => oid));

/**
 * Reads every column of every chunk directly: each block has its sum, redundancy is that of the data and names the
 * data's sums. `disks[s]` is that of slot s. Throws SimFailure with the first place where something is wrong.
 */
export function auditColumns(disks: readonly SimDisk[], scheme: Scheme): void {
  for (const chunk of chunks(disks, scheme).values()) auditChunk(chunk, scheme);
}

function chunks(disks: readonly SimDisk[], scheme: Scheme): Map<string, Chunk> {
  const found = new Map<string, Chunk>();
  disks.forEach((disk, slot) => {
    for (const path of disk.paths) {
      const match = COLUMN.exec(path);
      if (match === null) {
        if (path.startsWith('columns/')) throw new SimFailure(`${path} is no name of a column`);
        continue;
      }
      const oid = Number.parseInt(match[1]!, 16);
      const chunk = Number(match[2]);
      const key = `${oid}.${chunk}.${match[3]}`;
      const entry = found.get(key) ?? {oid, chunk, columns: new Map()};
      const column = (slot - ((oid + chunk) % disks.length) + disks.length) % disks.length;
      if (column >= scheme.k + scheme.m) {
        throw new SimFailure(`slot ${slot} holds a column of ${key}, which is not its`);
      }
      // Without a header nothing of it was ever synced: the column is missing.
      if (disk.peek(path, HEADER_START, HEADER_BYTES).every((byte) => byte === 0)) continue;
      entry.columns.set(column, {disk, path});
      found.set(key, entry);
    }
  });
  return found;
}

function auditChunk(chunk: Chunk, scheme: Scheme): void {
  const rows = new Set<number>();
  for (const [column, {disk, path}] of chunk.columns) {
    const file = disk.file(path)!;
    // Data above the sums is what a power cut left of a write; it goes before its place is used.
    const blocks = Math.ceil((file.size - SUMS_START) / sumBytesOf(column, scheme));
    for (const page of file.pages()) if (page < blocks) rows.add(page);
  }
  for (const row of rows) auditRow(chunk, row, scheme);
}

const sumBytesOf = (column: number, {k}: Scheme): number => (column < k ? 4 : 4 * (1 + k));

function auditRow(chunk: Chunk, row: number, scheme: Scheme): void {
  const {k, m} = scheme;
  const where = (column: number): string =>
    `oid ${chunk.oid} chunk ${chunk.chunk} row ${row} column ${column}`;
  const block = (column: number): Uint8Array => {
    const at = chunk.columns.get(column);
    const end = SUMS_START + row * sumBytesOf(column, scheme);
    return at === undefined || at.disk.file(at.path)!.size <= end
      ? new Uint8Array(BLOCK_BYTES)
      : at.disk.peek(at.path, row * BLOCK_BYTES, BLOCK_BYTES);
  };
  const storedSum = (column: number, index: number): number => {
    const at = chunk.columns.get(column);
    if (at === undefined) return ZERO_SUM;
    const each = sumBytesOf(column, scheme);
    const bytes = at.disk.peek(at.path, SUMS_START + row * each + index * 4, 4);
    return (new DataView(bytes.buffer).getUint32(0, true) ^ ZERO_SUM) >>> 0;
  };
  const data = Array.from({length: k}, (_, column) => block(column));
  const sums = data.map((bytes) => crc32c(bytes));
  sums.forEach((sum, column) => {
    if (storedSum(column, 0) !== sum) throw new SimFailure(`${where(column)}: its sum is wrong`);
  });
  for (let parity = 0; parity < m; parity++) {
    const column = k + parity;
    const stored = block(column);
    if (storedSum(column, 0) !== crc32c(stored)) {
      throw new SimFailure(`${where(column)}: its sum is wrong`);
    }
    const expected = new Uint8Array(BLOCK_BYTES);
    data.forEach((bytes, j) => {
      addMultiple(expected, bytes, k === 1 || m === 1 ? 1 : reciprocal(column ^ j));
    });
    if (Buffer.compare(expected, stored) !== 0) {
      throw new SimFailure(`${where(column)}: redundancy is not that of the data`);
    }
    sums.forEach((sum, j) => {
      if (storedSum(column, 1 + j) !== sum) {
        throw new SimFailure(`${where(column)}: it covers another block of column ${j}`);
      }
    });
  }
}
