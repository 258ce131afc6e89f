import {closeSync, fsyncSync, openSync, statSync} from 'node:fs';
import {dirname, resolve} from 'node:path';
import {FsError} from '../core/base/errors.js';
import {MOVE} from '../core/cluster/moves.js';
import {formatScheme} from '../core/layout/scheme.js';
import {OPS} from '../core/protocol/ops.js';
import {withMeta} from './admin.js';
import {CliError, EXIT} from './cli-error.js';
import {mountOf} from './mounts.js';
import {addMove, moved} from './moves.js';

export interface LayoutInfo {
  scheme: string;
  unitBytes: number;
  chunkBytes: number;
  groupCount: number;
  /** Groups that hold the object; empty for directories, whose new files get theirs when they are made. */
  groups: number[];
  /** Read copies of its chunks. */
  readCopies: {chunk: number; group: number; slot: number}[];
}

export interface LayoutChange {
  k?: number;
  m?: number;
  unitBytes?: number;
  chunkBytes?: number;
  groupCount?: number;
}

const TIMEOUT_MS = 10_000;

/** The mount that holds `path` says which cluster; its inode number is the object id. The meta server knows the object then. */
export async function locate(path: string): Promise<{meta: string; oid: number}> {
  let oid: number;
  try {
    oid = statSync(path).ino;
  } catch {
    throw new CliError(
      `${path} is not there; name a file or folder on a cpfs mount`,
      EXIT.notFound,
    );
  }
  const {source} = await mountOf(path);
  makeKnown(path);
  return {meta: source.replace(/^cpfs:/, ''), oid};
}

/** The mount may have yet to tell the meta server that it has made this. */
function makeKnown(path: string): void {
  const folder = openSync(statSync(path).isDirectory() ? path : dirname(resolve(path)), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

export async function layoutGet(path: string): Promise<LayoutInfo> {
  const {meta, oid} = await locate(path);
  return withMeta(meta, TIMEOUT_MS, async (peer) => {
    const {message} = await peer.call(OPS.layoutGet, {oid});
    const {layout, groupCount} = message;
    const {copies} = (await peer.call(OPS.readCopies, {oid})).message;
    return {
      scheme: formatScheme(layout),
      unitBytes: layout.unitBytes,
      chunkBytes: layout.chunkBytes,
      groupCount,
      groups: [...layout.groups],
      readCopies: copies.map(({chunk, group, slot}) => ({chunk, group, slot})),
    };
  });
}

export async function layoutSet(path: string, change: LayoutChange): Promise<void> {
  const {meta, oid} = await locate(path);
  await withMeta(meta, TIMEOUT_MS, async (peer) => {
    try {
      await peer.call(OPS.layoutSet, {oid, ...change});
    } catch (error) {
      if (error instanceof FsError && error.errno === 'EINVAL') {
        throw new CliError(
          `this layout cannot be: ${error.detail}; nothing was changed`,
          EXIT.usage,
        );
      }
      if (error instanceof FsError && error.errno === 'ENOTDIR') {
        throw new CliError(
          `${path} is no folder; give --convert to change the layout of a file`,
          EXIT.refused,
        );
      }
      throw error;
    }
  });
}

/** Folders and files below `path`, or the file that it is, get the layout; null: in the background. */
export async function layoutConvert(
  path: string,
  change: LayoutChange,
  wait: boolean,
): Promise<{objects: number; bytes: number} | null> {
  const {meta, oid} = await locate(path);
  const id = await addMove(meta, TIMEOUT_MS, {kind: MOVE.convert, root: oid, ...change});
  return wait ? moved(meta, TIMEOUT_MS, id) : null;
}
