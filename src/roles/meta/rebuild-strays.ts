import {endOf} from '../../core/client/resync.js';
import {GROUPS_PER_OBJECT_MAX, invalidLayout, type Layout} from '../../core/layout/scheme.js';
import type {Stray} from '../../core/meta/rebuild.js';
import type {DirectoryLayout} from '../../core/namespace/inode.js';
import type {AskedServer, ColumnFound, ColumnShown} from './rebuild-servers.js';

/** What columns that no record has say of their object, by generation and chunk. */
interface Trace {
  generations: Map<number, Map<number, Map<number, ChunkTrace>>>;
}

/** Of one chunk in one group. */
interface ChunkTrace {
  k: number;
  m: number;
  unitBytes: number;
  /** Of each column that is there. */
  bytes: Map<number, number>;
}

/** Objects that have columns and no record. */
export class Strays {
  readonly #objects = new Map<number, Trace>();

  async add(server: AskedServer, id: ColumnFound): Promise<void> {
    const shown = await server.column(id);
    if (shown !== null) this.note(server.info.group, id, shown);
  }

  note(group: number, id: ColumnFound, shown: ColumnShown): void {
    const {k, m, unitBytes, column, bytes} = shown;
    const trace = getOr(this.#objects, id.oid, () => ({generations: new Map()}) as Trace);
    const chunks = getOr(trace.generations, id.generation, () => new Map());
    const groups = getOr(chunks, id.chunk, () => new Map<number, ChunkTrace>());
    const its = getOr(groups, group, () => ({k, m, unitBytes, bytes: new Map<number, number>()}));
    its.bytes.set(column, bytes);
  }

  /**
   * As files. `all`: every server was asked, so a chunk with fewer than k columns is what was left of a file that was removed; without, it may be one
   * whose columns are elsewhere. `left`: how many objects are such remains.
   */
  files(root: DirectoryLayout, all: boolean): {strays: Stray[]; left: number} {
    const strays: Stray[] = [];
    let left = 0;
    for (const [oid, {generations}] of this.#objects) {
      // A move that had not ended has two; what is longest is what it was moved from, or all of it.
      let best: Stray | null = null;
      for (const [generation, chunks] of generations) {
        const stray = fileOf(oid, generation, chunks, root, all);
        if (stray === null) continue;
        const better =
          best === null ||
          stray.size > best.size ||
          (stray.size === best.size && generation > best.layout.generation);
        if (better) best = stray;
      }
      if (best === null) left++;
      else strays.push(best);
    }
    return {strays, left};
  }
}

function fileOf(
  oid: number,
  generation: number,
  chunks: ReadonlyMap<number, ReadonlyMap<number, ChunkTrace>>,
  root: DirectoryLayout,
  all: boolean,
): Stray | null {
  const places = new Map<number, number>();
  let shape: ChunkTrace | null = null;
  const whole: [number, ChunkTrace][] = [];
  for (const [chunk, groups] of chunks) {
    for (const [group, trace] of groups) {
      if (all && trace.bytes.size < trace.k) continue;
      shape ??= trace;
      places.set(chunk, group);
      whole.push([chunk, trace]);
    }
  }
  if (shape === null) return null;
  const {k, m, unitBytes} = shape;
  const chunkBytes = Math.max(root.chunkBytes, k * unitBytes);
  const layout: Layout = {k, m, unitBytes, chunkBytes, groups: groupsOf(places), generation};
  if (invalidLayout(layout) !== null) return null;
  let size = 0;
  for (const [chunk, {bytes}] of whole) {
    const lengths = Array.from({length: k + m}, (_, column) => bytes.get(column) ?? 0);
    size = Math.max(size, endOf(layout, chunk, lengths));
  }
  return {oid, layout: {...layout, groups: [...layout.groups]}, size};
}

/** The shortest list of groups that puts each chunk where it is. */
export function groupsOf(places: ReadonlyMap<number, number>): number[] {
  const chunks = [...places.keys()].sort((a, b) => a - b);
  for (let length = 1; length <= GROUPS_PER_OBJECT_MAX; length++) {
    const groups: number[] = [];
    const fits = chunks.every((chunk) => {
      groups[chunk % length] ??= places.get(chunk)!;
      return groups[chunk % length] === places.get(chunk);
    });
    // A hole in the list is one that no chunk has been in yet.
    if (fits) return Array.from({length}, (_, index) => groups[index] ?? places.get(chunks[0]!)!);
  }
  return [...new Set(places.values())];
}

function getOr<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
