import {FsError, messageOf} from '../base/errors.js';
import type {Env} from '../env/env.js';
import type {LostRange} from '../protocol/gen/wire.js';
import type {ColumnId} from './format.js';

const PATH = 'scrub.json';

/** What a pass has found so far. */
export interface ScrubCounts {
  blocks: number;
  bad: number;
  repaired: number;
  lost: number;
  skipped: number;
  /** The first of those that are lost. */
  ranges: LostRange[];
}

export const noCounts = (): ScrubCounts => ({
  blocks: 0,
  bad: 0,
  repaired: 0,
  lost: 0,
  skipped: 0,
  ranges: [],
});

/** Blocks of a chunk that something is wrong with. */
export interface Suspect {
  id: ColumnId;
  /** Numbers of blocks in each column. */
  rows: number[];
  /** Some of them fail their sums here; else the columns do not agree. */
  here: boolean;
}

export interface ScrubPass {
  order: number;
  deep: boolean;
  /** The last column that was looked at, as the column store lists them. */
  cursor: string;
  counts: ScrubCounts;
  /** What could not be judged yet. */
  suspects: Suspect[];
}

/** What a server keeps of its scrubbing: `scrub.json`. */
export interface ScrubState {
  version: 1;
  /** Wall clock, seconds: this server has been there since then. */
  sinceS: number;
  /** In [0, 1): so servers that were made together do not begin together. */
  share: number;
  /** The newest order whose pass has begun. */
  order: number;
  pass: ScrubPass | null;
  /** The last complete pass. */
  last: (ScrubCounts & {endedS: number; deep: boolean}) | null;
}

/** Null: there is none, or none that can be read; then a pass begins anew some time. */
export async function readScrub(env: Pick<Env, 'disk' | 'log'>): Promise<ScrubState | null> {
  try {
    const bytes = await env.disk.readFile(PATH);
    if (bytes === null) return null;
    const state = JSON.parse(Buffer.from(bytes).toString('utf8')) as ScrubState;
    return state.version === 1 ? state : null;
  } catch (error) {
    if (!(error instanceof FsError || error instanceof SyntaxError)) throw error;
    env.log.warn('scrub.unreadable', {reason: messageOf(error)});
    return null;
  }
}

export function writeScrub(env: Pick<Env, 'disk'>, state: ScrubState): Promise<void> {
  return env.disk.writeFile(PATH, Buffer.from(JSON.stringify(state)));
}
