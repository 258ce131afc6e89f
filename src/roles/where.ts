import {closeSync, fstatSync, fsyncSync, openSync, readSync, statSync} from 'node:fs';
import {FsError} from '../core/base/errors.js';
import {alignDown, BLOCK_BYTES} from '../core/base/units.js';
import {READ_LATE_MS, readColumn, sumAt} from '../core/client/column-io.js';
import {type OpenedClient, openClient} from '../core/client/index.js';
import {
  type ChunkPlace,
  columnReadable,
  columnRef,
  locate as placeOf,
} from '../core/client/place.js';
import {slotStateName, writable} from '../core/cluster/map.js';
import {pathOf} from '../core/data/format.js';
import {silentLog} from '../core/env/log.js';
import {formatScheme, type Layout} from '../core/layout/scheme.js';
import {chunkDataBytes, columnBytes, place} from '../core/layout/stripe.js';
import {OPS} from '../core/protocol/ops.js';
import {withMeta} from './admin.js';
import {CliError, EXIT} from './cli-error.js';
import {locate} from './layout.js';
import {clientEnv} from './real-env.js';

/** One column of a chunk, and what its server says of it. Stable: fields are added, never changed. */
export interface ColumnWhere {
  column: number;
  kind: 'data' | 'redundancy';
  slot: number;
  state: string;
  server: string | null;
  address: string | null;
  /** In the folder of the server. */
  file: string;
  /** Of the byte that was asked for, or the redundancy that covers it: in the file. Null: none was asked for, or it is in another column. */
  offset: number | null;
  /** Null: the server was not there to be asked. */
  present: boolean | null;
  bytes: number | null;
  allocated: number | null;
}

export interface ChunkWhere {
  chunk: number;
  group: number;
  /** Bytes of the file in it: from, and how many. */
  start: number;
  length: number;
  columns: ColumnWhere[];
}

export interface Where {
  inode: number;
  size: number;
  /** So many bytes of the file are kept with its inode, by the meta server; columns are not used for them. */
  inline: number;
  scheme: string;
  unitBytes: number;
  chunkBytes: number;
  groups: number[];
  /** What was asked for; null: the whole file. */
  offset: number | null;
  /** Of the block at the offset: nothing was ever written there, so it is zeros. Null: not asked, or not known. */
  hole: boolean | null;
  chunks: ChunkWhere[];
}

const TIMEOUT_MS = 10_000;
const CLOSE_MS = 2000;
/** Chunks that are described at once; with more of them, name an offset. */
const CHUNKS_MAX = 1024;
const POOL = {small: 32, medium: 8, large: 4};

/** Where the bytes of a file are. CliError: it is not there, it is no file, the offset is behind its end. */
export async function where(path: string, offset: number | null): Promise<Where> {
  const {meta, oid} = await locate(path);
  if (!statSync(path).isFile())
    throw new CliError(`${path} is no file; only files have columns`, EXIT.usage);
  const size = writeBack(path, offset ?? 0);
  const {inlineBytes, layout} = await inodeOf(meta, oid, path);
  if (offset !== null && offset >= size)
    throw new CliError(`${path} has ${size} bytes; name an offset below that`, EXIT.usage);
  const found: Where = {
    inode: oid,
    size,
    inline: inlineBytes,
    scheme: formatScheme(layout),
    unitBytes: layout.unitBytes,
    chunkBytes: chunkDataBytes(layout),
    groups: [...layout.groups],
    offset,
    hole: null,
    chunks: [],
  };
  const chunks = chunksOf(layout, size, offset);
  if (inlineBytes > 0 && (offset ?? 0) < inlineBytes && (offset !== null || inlineBytes === size))
    return found;
  if (chunks.length > CHUNKS_MAX) {
    throw new CliError(
      `${path} has ${chunks.length} chunks; name an offset to see where that byte is`,
      EXIT.usage,
    );
  }
  const env = clientEnv(silentLog, POOL);
  const client = await openClient(env, {meta, name: `where:${process.pid}`});
  try {
    for (const chunk of chunks)
      found.chunks.push(await chunkWhere(client, oid, layout, size, chunk, offset));
    if (offset !== null) found.hole = await isHole(client, oid, layout, offset);
  } finally {
    await client.close(CLOSE_MS);
  }
  return found;
}

/** What is dirty, on this mount and on others, is with the servers then. Gives the size. */
function writeBack(path: string, offset: number): number {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    throw new CliError(
      `${path} cannot be opened; ask as somebody who may read it`,
      EXIT.permission,
    );
  }
  try {
    fsyncSync(file);
    readable(file, offset);
    return fstatSync(file).size;
  } catch {
    throw new CliError(`${path} cannot be written back; see 'cpfs status'`, EXIT.failed);
  } finally {
    closeSync(file);
  }
}

/** Whoever reads gets the lease, so others have written back. A byte that cannot be read is somewhere all the same. */
function readable(file: number, offset: number): boolean {
  try {
    return readSync(file, new Uint8Array(1), 0, 1, offset) === 1;
  } catch {
    return false;
  }
}

async function inodeOf(
  meta: string,
  oid: number,
  path: string,
): Promise<{inlineBytes: number; layout: Layout}> {
  return withMeta(meta, TIMEOUT_MS, async (peer) => {
    const {message} = await peer.call(OPS.inodes, {oids: [oid]});
    const inode = message.inodes[0];
    if (inode === undefined || inode.missing || inode.layout === null)
      throw new CliError(`${path} was removed meanwhile; name another file`, EXIT.notFound);
    return {inlineBytes: inode.inlineBytes, layout: inode.layout};
  });
}

function chunksOf(layout: Layout, size: number, offset: number | null): number[] {
  if (offset !== null) return [place(layout, offset).chunk];
  return Array.from({length: Math.ceil(size / chunkDataBytes(layout))}, (_, i) => i);
}

async function chunkWhere(
  client: OpenedClient,
  oid: number,
  layout: Layout,
  size: number,
  chunk: number,
  offset: number | null,
): Promise<ChunkWhere> {
  const {columns} = client.parts.path;
  const at = placeOf(columns.map, layout, oid, chunk);
  const start = chunk * chunkDataBytes(layout);
  const byte = offset === null ? null : place(layout, offset);
  const rows = Array.from(
    {length: layout.k + layout.m},
    async (_, column): Promise<ColumnWhere> => {
      const info = at.infos[column]!;
      // The same row of each redundancy column covers the byte.
      const covers = byte !== null && (column === byte.column || column >= layout.k);
      return {
        column,
        kind: column < layout.k ? 'data' : 'redundancy',
        slot: at.slots[column]!,
        state: slotStateName(info.state),
        server: info.server?.uuid ?? null,
        address: info.server?.address ?? null,
        file: pathOf({oid, chunk, generation: layout.generation}),
        offset: covers ? byte.columnOffset : null,
        ...(await stated(client, at, column)),
      };
    },
  );
  return {
    chunk,
    group: at.group,
    start,
    length: Math.min(chunkDataBytes(layout), size - start),
    columns: await Promise.all(rows),
  };
}

type Stated = Pick<ColumnWhere, 'present' | 'bytes' | 'allocated'>;

async function stated(client: OpenedClient, at: ChunkPlace, column: number): Promise<Stated> {
  const unknown = {present: null, bytes: null, allocated: null};
  if (!writable(at.infos[column]!)) return unknown;
  try {
    const {message} = await client.parts.path.columns.call(
      at.group,
      at.slots[column]!,
      OPS.stat,
      {ref: columnRef(at, column)},
      {deadlineMs: READ_LATE_MS},
    );
    return {present: message.present, bytes: message.bytes, allocated: message.allocated};
  } catch {
    return unknown;
  }
}

/** Zeros that nobody wrote have neither bytes nor a sum. */
async function isHole(
  client: OpenedClient,
  oid: number,
  layout: Layout,
  offset: number,
): Promise<boolean | null> {
  const {path} = client.parts;
  const {chunk, column, columnOffset} = place(layout, offset);
  const at = placeOf(path.columns.map, layout, oid, chunk);
  if (!columnReadable(at, column)) return null;
  const block = alignDown(columnOffset, BLOCK_BYTES);
  if (block >= columnBytes(layout, column, chunkDataBytes(layout))) return null;
  try {
    const data = await readColumn(path, at, column, block, BLOCK_BYTES, false);
    if (data.slot !== -1) path.pool.release(data.slot);
    return data.slot === -1 && sumAt(data.sums, 0) === 0;
  } catch (error) {
    if (error instanceof FsError) return null;
    throw error;
  }
}
