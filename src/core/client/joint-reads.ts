import {PAYLOAD_BYTES_MAX} from '../base/pool.js';
import {BLOCK_BYTES, KIB} from '../base/units.js';
import type {ReadCopy} from '../protocol/gen/wire.js';
import {type ColumnData, readRanges} from './column-io.js';
import type {BytePath} from './columns.js';
import type {ChunkPlace} from './place.js';

/** Smaller pieces do not wait for the end of the turn: they are single reads of programs that wait for each. */
const JOINT_BYTES_MIN = 64 * KIB;

/** A range of a column that somebody waits for. */
interface Asked {
  offset: number;
  length: number;
  resolve(data: ColumnData): void;
  reject(error: unknown): void;
}

/**
 * Reads of one column that are asked for in one turn go as one request, as far as they fit into one payload: the kernel reads
 * ahead in several requests at once, and each has a piece of every column.
 */
export class JointReads {
  readonly #asked = new Map<string, Asked[]>();

  /** `copy`: a read copy that is read in place of the column. As `readColumn` without covered sums. Who is in one request with others fails with them, and shares the slot. */
  read(
    path: BytePath,
    place: ChunkPlace,
    column: number,
    offset: number,
    length: number,
    copy: ReadCopy | null = null,
  ): Promise<ColumnData> {
    if (length < JOINT_BYTES_MIN)
      return readRanges(path, place, column, [{offset, length}], false, copy);
    const key = `${place.oid}.${place.chunk}.${column}.${place.epoch}.${copy?.id ?? 0}`;
    return new Promise((resolve, reject) => {
      const one = {offset, length, resolve, reject};
      const others = this.#asked.get(key);
      if (others !== undefined) {
        others.push(one);
        return;
      }
      const all = [one];
      this.#asked.set(key, all);
      path.clock.soon(() => {
        this.#asked.delete(key);
        for (const part of payloads(all)) this.#send(path, place, column, part, copy);
      });
    });
  }

  #send(
    path: BytePath,
    place: ChunkPlace,
    column: number,
    all: readonly Asked[],
    copy: ReadCopy | null,
  ): void {
    readRanges(path, place, column, joined(all), false, copy).then(
      (data) => share(path, data, all),
      (error: unknown) => {
        for (const one of all) one.reject(error);
      },
    );
  }
}

/** In the order in which they came, as many in each as one payload holds. */
function payloads(all: readonly Asked[]): Asked[][] {
  const parts: Asked[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const one of all) {
    if (bytes + one.length > PAYLOAD_BYTES_MAX) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)!.push(one);
    bytes += one.length;
  }
  return parts;
}

/** What follows one another is one range. */
function joined(all: readonly Asked[]): {offset: number; length: number}[] {
  const ranges: {offset: number; length: number}[] = [];
  for (const {offset, length} of all) {
    const last = ranges.at(-1);
    if (last !== undefined && last.offset + last.length === offset) last.length += length;
    else ranges.push({offset, length});
  }
  return ranges;
}

/** To everybody his part, with a reference of the slot. */
function share({pool}: BytePath, data: ColumnData, all: readonly Asked[]): void {
  const {slot, memory, sums, bad} = data;
  for (let i = 1; i < all.length && slot !== -1; i++) pool.retain(slot);
  let at = 0;
  for (const {length, resolve} of all) {
    const first = at / BLOCK_BYTES;
    const end = (at + length) / BLOCK_BYTES;
    const own = bad?.filter((block) => first <= block && block < end) ?? [];
    resolve({
      slot,
      memory: slot === -1 ? -1 : memory + at,
      sums: sums.subarray(first * 4, end * 4),
      covered: data.covered,
      bad: own.length === 0 ? null : own.map((block) => block - first),
    });
    at += length;
  }
}
