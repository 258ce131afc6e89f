import {FsError, Lost, messageOf} from '../../core/base/errors.js';
import {KIB} from '../../core/base/units.js';
import type {Kv} from '../../core/env/kv.js';
import {chunkDataBytes, columnBytes, place} from '../../core/layout/stripe.js';
import {keyId, letterEnd} from '../../core/meta/keys.js';
import type {Rebuild} from '../../core/meta/rebuild.js';
import {Counts} from '../../core/meta/rebuild-marks.js';
import {decodeInode} from '../../core/meta/records.js';
import {type Inode, S_IFMT, S_IFREG} from '../../core/namespace/inode.js';
import type {AskedServer, ColumnFound, ColumnShown} from './rebuild-servers.js';
import {Strays} from './rebuild-strays.js';

const BLOCK_BYTES = 4 * KIB;
/** Columns that a server is asked about at a time. */
const ASKED_MAX = 32;
const PAGE = 4096;
const QUOTED_MAX = 100;

/** What says that files are longer than their records. */
interface Longer {
  columns: Strays;
  /** Of files that end in the same block as before. */
  ends: Map<number, number>;
}

export interface SizesFound {
  /** Files that are as long as their columns now. */
  grown: number;
  /** Files that had columns and have none: they were removed since, and read as zeros. */
  hollow: number;
  /** The numbers of some of them. */
  hollowOids: number[];
}

/**
 * Gives files the size that their columns have, where that is more than their record says: they have grown since. Else whoever writes next behind the end would
 * compute redundancy as if there were nothing, and what is there would show when the file grows.
 */
export async function growFiles(
  made: Rebuild,
  servers: readonly AskedServer[],
  say: (line: string) => void,
): Promise<{grown: number; seen: Counts}> {
  const longer: Longer = {columns: new Strays(), ends: new Map()};
  const seen = new Counts();
  for (const server of servers) {
    try {
      for await (const page of server.columns()) {
        for (const {oid} of page) if (seen.get(oid) === 0) seen.add(oid);
        const last = page.filter((id) => mayBeLonger(made.inode(id.oid), id));
        for (let at = 0; at < last.length; at += ASKED_MAX)
          await Promise.all(
            last.slice(at, at + ASKED_MAX).map((id) => note(made, server, id, longer)),
          );
      }
    } catch (error) {
      if (!(error instanceof FsError || error instanceof Lost)) throw error;
      say(`${server.address} cannot list its columns: ${messageOf(error)}`);
    }
  }
  const {strays} = longer.columns.files(made.superblock().rootLayout, false);
  const ends = [...longer.ends].map(([oid, size]) => ({oid, size}));
  const grown = new Set(
    [...strays, ...ends].filter(({oid, size}) => made.grow(oid, size)).map(({oid}) => oid),
  );
  return {grown: grown.size, seen};
}

/** Files that had bytes in columns when the backup was made, and of which no server has a column: `seen` are all that have one. */
export function hollowFiles(
  history: Pick<Kv, 'range'>,
  seen: Counts,
): Pick<SizesFound, 'hollow' | 'hollowOids'> {
  const found = {hollow: 0, hollowOids: [] as number[]};
  for (let from = 'i'; ; ) {
    const rows = [...history.range(from, letterEnd('i'), PAGE)];
    for (const [key, value] of rows) {
      const oid = keyId(key, 1);
      const {mode, layout, size, blocks, inlineBytes, nlink} = decodeInode(oid, value);
      // A file that is all hole has no blocks.
      const had = (mode & S_IFMT) === S_IFREG && layout !== null && size > 0 && blocks > 0;
      if (!had || nlink === 0 || inlineBytes > 0 || seen.get(oid) > 0) continue;
      found.hollow++;
      if (found.hollowOids.length < QUOTED_MAX) found.hollowOids.push(oid);
    }
    if (rows.length < PAGE) return found;
    from = `${rows.at(-1)![0]}\0`;
  }
}

/** The chunk in which the file ends, or one behind it. */
function mayBeLonger(inode: Readonly<Inode> | null, {chunk, generation}: ColumnFound): boolean {
  if (inode === null || inode.layout?.generation !== generation) return false;
  return (chunk + 1) * chunkDataBytes(inode.layout) > inode.size;
}

async function note(
  made: Rebuild,
  server: AskedServer,
  id: ColumnFound,
  found: Longer,
): Promise<void> {
  const shown = await server.column(id);
  if (shown === null) return;
  const inode = made.inode(id.oid)!;
  const {layout, size} = inode;
  const within = size - id.chunk * chunkDataBytes(layout!);
  const bytes = columnBytes(layout!, shown.column, Math.max(0, within));
  if (shown.bytes > bytes) found.columns.note(server.info.group, id, shown);
  else await noteEnd(inode, server, id, shown, found);
}

/** Bytes behind the end in its block: the file has grown, but not by a block. */
async function noteEnd(
  {oid, layout, size}: Readonly<Inode>,
  server: AskedServer,
  id: ColumnFound,
  {column}: ColumnShown,
  {ends}: Longer,
): Promise<void> {
  const rest = size % BLOCK_BYTES;
  if (rest === 0) return;
  const at = place(layout!, size - rest);
  if (at.chunk !== id.chunk || at.column !== column) return;
  const block = await server.block(id, at.columnOffset);
  const last = block?.findLastIndex((byte) => byte !== 0) ?? 0;
  if (last >= rest) ends.set(oid, size - rest + last + 1);
}
