import type {EngineSystem} from '../mount/engine.js';

export type DoctorRole = 'meta' | 'data' | 'mount';
export type Level = 'ok' | 'warning' | 'error';

/** What one check found. Stable, as `cpfs doctor -o json` prints it: fields are added, never changed. */
export interface Finding {
  /** Such as `disk.sync`. */
  check: string;
  level: Level;
  /** One sentence. */
  says: string;
  /** What to do, usually a command; null where nothing is wrong. */
  mend: string | null;
}

export interface DiskFacts {
  /** What was looked at: the folder, or the one above it that is there. */
  folder: string;
  /** The folder itself is there. */
  there: boolean;
  /** `ext4` and its mount options; empty: not known. */
  type: string;
  options: readonly string[];
  totalBytes: number;
  freeBytes: number;
  /** This user may make files in it. */
  writable: boolean;
  /** O_DIRECT is possible; null: not tried. */
  direct: boolean | null;
  /** Median of writes of one block with fdatasync; null: not tried. */
  syncMs: number | null;
  /** Of the block device, as the kernel has it: `write back`, `write through`; empty: not known. */
  cache: string;
}

/** What the active meta server says of itself. */
export interface ClusterFacts {
  release: string;
  /** Its clock less ours, in ms; null: it does not say. */
  skewMs: number | null;
  /** Half the way there and back: so much the former may be wrong. */
  doubtMs: number;
}

/** The machine, as checks see it; each question is bounded in time. */
export interface DoctorSystem extends EngineSystem {
  release: string;
  hostname: string;
  /** Release of this program. */
  ownRelease: string;
  /** What a small file says; null: it is not there, or may not be read. */
  text(path: string): string | null;
  /** May it be opened for reading and writing? */
  opens(path: string): boolean;
  /** What a program prints; null: it is not there, or fails. */
  output(program: string, ...args: string[]): Promise<string | null>;
  /** Addresses of a host; rejects with why not. */
  resolve(host: string): Promise<string[]>;
  /** HOST:PORT of all that --meta names; rejects with why not. */
  metas(names: string): Promise<string[]>;
  /** Why no connection can be made; null: it can. */
  connects(address: string): Promise<string | null>;
  /** Why nobody could listen there (an errno); null: it can be. */
  listens(address: string): Promise<string | null>;
  /** Rejects with what is wrong, and the next step. */
  cluster(names: string): Promise<ClusterFacts>;
  disk(folder: string): Promise<DiskFacts>;
  /** Can a ring be made? */
  ring(): boolean;
}

export interface DoctorOptions {
  roles: readonly DoctorRole[];
  /** By role: what it stores in; null: nothing is looked at. */
  states: Readonly<Record<'meta' | 'data', string | null>>;
  listen: Readonly<Record<'meta' | 'data', string>>;
  /** As --meta; null: there is no cluster to ask. */
  meta: string | null;
  /** Data servers with --direct. */
  direct: boolean;
}

export const ok = (check: string, says: string): Finding => ({
  check,
  level: 'ok',
  says,
  mend: null,
});
export const warning = (check: string, says: string, mend: string): Finding => ({
  check,
  level: 'warning',
  says,
  mend,
});
export const error = (check: string, says: string, mend: string): Finding => ({
  check,
  level: 'error',
  says,
  mend,
});
