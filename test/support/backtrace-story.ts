import type {CheckpointWatch} from '../../src/core/meta/backtraces.js';
import {Rebuild, type Rebuilt, type Stray} from '../../src/core/meta/rebuild.js';
import {ALL_SHARDS, type BacktraceEntry, shardOf} from '../../src/core/protocol/backtraces.js';
import {MemoryKv} from './memory-kv.js';
import {MetaFixture} from './meta.js';
import {doStep, Objects, PROLOGUE, type Step} from './meta-steps.js';

export interface NotedPiece {
  from: number;
  to: number;
  entries: BacktraceEntry[];
}

/** What checkpoints would send, in order. */
export class NotingWatch implements CheckpointWatch {
  readonly pieces: NotedPiece[] = [];
  async begin(): Promise<void> {}
  async note(entries: Iterable<BacktraceEntry>, from: number, to: number): Promise<void> {
    this.pieces.push({from, to, entries: [...entries]});
  }
  written(): void {}
}

export interface Story {
  pieces: NotedPiece[];
  /** The whole state at the end, by key. */
  state: Map<string, Uint8Array>;
}

/** Plays steps on a meta machine that writes a checkpoint every few of them. */
export async function playStory(steps: readonly Step[], checkpointMs: number): Promise<Story> {
  const watch = new NotingWatch();
  const f = new MetaFixture(1, {checkpointMs, checkpoints: watch});
  await f.play(async () => {
    await f.boot();
    f.session = await f.machine.createSession(Buffer.from('s'));
    const objects = new Objects();
    for (const s of [...PROLOGUE, ...steps]) {
      objects.add(s, (await doStep(f, s, objects)).made);
      await f.pass(2);
    }
    await f.machine.putMap(Buffer.from('{}'));
    await f.machine.close();
  });
  const view = f.kv.attach({timer: () => ({cancel: () => {}})});
  return {pieces: watch.pieces, state: new Map(view.range('\0', '\xff', 1e9))};
}

/** A shard as a server has it that got the pieces up to `until`, those of which `twice` says so twice. */
export function shardAt(
  pieces: readonly NotedPiece[],
  shard: number,
  until: number,
  twice: (index: number) => boolean,
): Map<string, Uint8Array> {
  const rows = new Map<string, Uint8Array>();
  const apply = ({entries}: NotedPiece): void => {
    for (const [key, value] of entries) {
      if (shardOf(key) !== shard) continue;
      if (value === null) rows.delete(key);
      else rows.set(key, value);
    }
  };
  for (const [index, piece] of pieces.slice(0, until).entries()) {
    apply(piece);
    if (twice(index)) apply(piece);
  }
  return rows;
}

export interface Remade {
  kv: MemoryKv;
  rebuilt: Rebuilt;
}

/** `order`: of the shards. `until`: how many pieces the best copy of a shard has. */
export async function remake(
  pieces: readonly NotedPiece[],
  order: readonly number[],
  until: (shard: number) => number,
  {twice = () => false, strays = []}: {twice?: (n: number) => boolean; strays?: Stray[]} = {},
): Promise<Remade> {
  const kv = new MemoryKv();
  const made = new Rebuild(kv);
  for (const shard of order) await made.add(shardAt(pieces, shard, until(shard), twice));
  const rebuilt = await made.finish(strays, {
    now: {sec: 1, nsec: 0},
    position: 1_000_000,
    line: 1,
    terms: 7,
    idsBelow: 2 ** 40,
    map: null,
  });
  return {kv, rebuilt};
}

export const SHARD_NUMBERS: readonly number[] = Array.from({length: ALL_SHARDS}, (_, i) => i);
