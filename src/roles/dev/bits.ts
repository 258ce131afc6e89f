import {type FileHandle, open, readdir} from 'node:fs/promises';
import {join} from 'node:path';
import {crc32c} from '../../core/base/crc32c.js';
import {BLOCK_BYTES, MIB} from '../../core/base/units.js';
import {
  type ColumnShape,
  decodeHeader,
  folderOf,
  HEADER_BYTES,
  HEADER_OFFSET,
  parseName,
  SUMS_OFFSET,
  sumBytes,
  sumOffset,
  ZERO_BLOCK_CRC,
} from '../../core/data/format.js';
import type {SeededRandom} from '../../core/sim/random.js';

/** Of a chunk of the default size, whatever its scheme. */
const COLUMN_BLOCKS_MAX = (64 * MIB) / BLOCK_BYTES;

/** A column file of an object. */
export interface ColumnFile {
  path: string;
  shape: ColumnShape;
}

/** The columns that a data server has of an object. */
export async function columnsOf(folder: string, oid: number): Promise<ColumnFile[]> {
  const inside = join(folder, folderOf(oid));
  const found: ColumnFile[] = [];
  for (const name of await readdir(inside).catch(() => [])) {
    const id = parseName(name);
    if (id?.oid !== oid) continue;
    const path = join(inside, name);
    const shape = await using(path, 'r', async (file) => {
      const header = await bytesAt(file, HEADER_OFFSET, HEADER_BYTES);
      return decodeHeader(header, id);
    });
    if (typeof shape !== 'string') found.push({path, shape});
  }
  return found;
}

async function using<T>(
  path: string,
  flags: string,
  use: (file: FileHandle) => Promise<T>,
): Promise<T> {
  const file = await open(path, flags);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

async function bytesAt(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  await file.read(bytes, 0, length, offset);
  return bytes;
}

/** Does the block have the sum that is stored for it? */
const fits = ({path, shape}: ColumnFile, offset: number): Promise<boolean> =>
  using(path, 'r', async (file) => {
    const block = await bytesAt(file, offset, BLOCK_BYTES);
    const stored = (await bytesAt(file, sumOffset(shape, offset), 4)).readUInt32LE(0);
    return (crc32c(block) ^ ZERO_BLOCK_CRC) >>> 0 === stored;
  });

/** What was done to a column. */
export interface Damage {
  column: ColumnFile;
  /** Of blocks in the column. */
  offsets: number[];
}

/** Blocks of the column that were written with anything but zeros. */
async function written(file: FileHandle, shape: ColumnShape): Promise<number[]> {
  const each = sumBytes(shape);
  const sums = await bytesAt(file, SUMS_OFFSET, COLUMN_BLOCKS_MAX * each);
  const blocks = Array.from({length: COLUMN_BLOCKS_MAX}, (_, i) => i);
  return blocks.filter((i) => sums.readUInt32LE(i * each) !== 0).map((i) => i * BLOCK_BYTES);
}

/** Flips a bit in each of a few blocks of a column, or in their sums, in the page cache and on the disk. None if it has no block. */
export async function flipBits(column: ColumnFile, random: SeededRandom): Promise<Damage> {
  return using(column.path, 'r+', async (file) => {
    const may = await written(file, column.shape);
    const offsets = new Set<number>();
    for (let left = may.length === 0 ? 0 : random.range(1, 4); left > 0; left--)
      offsets.add(random.pick(may));
    for (const offset of offsets) {
      const at = random.chance(0.25)
        ? sumOffset(column.shape, offset) + random.below(4)
        : offset + random.below(BLOCK_BYTES);
      const byte = await bytesAt(file, at, 1);
      byte[0]! ^= 1 << random.below(8);
      await file.write(byte, 0, 1, at);
    }
    await file.datasync();
    return {column, offsets: [...offsets]};
  });
}

/** The blocks that are still wrong. A column that is gone has none. */
export async function unhealed({column, offsets}: Damage): Promise<number[]> {
  const wrong: number[] = [];
  for (const offset of offsets) {
    const good = await fits(column, offset).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      return true;
    });
    if (!good) wrong.push(offset);
  }
  return wrong;
}
