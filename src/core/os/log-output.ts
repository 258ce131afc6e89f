import {copyFileSync, fstatSync, ftruncateSync, renameSync, statSync, writeSync} from 'node:fs';
import {MIB} from '../base/units.js';

/** A log file is at most so large, and as many times more as there are older ones beside it. */
const FILE_BYTES_MAX = 16 * MIB;
const OLDER_FILES = 4;
/** Into a file that is not known by name one process writes so much. */
const BLIND_BYTES_MAX = 64 * MIB;

export interface LogOutputOptions {
  descriptor: number;
  /** The path of the file that the descriptor appends to; null: not known, or no file. */
  path: string | null;
  fileBytesMax?: number;
  blindBytesMax?: number;
}

/**
 * Where lines of a log go, with a bound: a file that is known by its path is kept beside itself as `.1` to `.4` when it is full, and begun anew; into
 * another file nothing is written beyond a bound; the journal and terminals have bounds of their own. The descriptor stays the same, so what the
 * process itself prints at its death is in the newest file.
 */
export class LogOutput {
  readonly #descriptor: number;
  readonly #path: string | null;
  readonly #max: number;
  readonly #isFile: boolean;
  #bytes = 0;

  constructor(options: LogOutputOptions) {
    const {
      descriptor,
      path,
      fileBytesMax = FILE_BYTES_MAX,
      blindBytesMax = BLIND_BYTES_MAX,
    } = options;
    this.#descriptor = descriptor;
    const file = regular(descriptor);
    this.#isFile = file !== null;
    this.#path = file !== null && path !== null && isSame(path, file) ? path : null;
    this.#max = this.#path === null ? blindBytesMax : fileBytesMax;
    if (this.#path !== null) this.#bytes = Number(file!.size);
  }

  /** False: it is full, and the line was not written. `last`: what is written in place of the first that is not. */
  write(line: string, last: () => string): boolean {
    const bytes = Buffer.byteLength(line);
    if (this.#isFile && this.#bytes + bytes > this.#max) {
      if (this.#path === null) {
        if (this.#bytes <= this.#max) this.#put(last());
        this.#bytes = this.#max + 1;
        return false;
      }
      this.#turn(this.#path);
    }
    this.#bytes += bytes;
    this.#put(line);
    return true;
  }

  #put(line: string): void {
    try {
      writeSync(this.#descriptor, line);
    } catch {
      // A log that cannot be written must not stop the server.
    }
  }

  #turn(path: string): void {
    try {
      for (let n = OLDER_FILES; n > 1; n--) move(`${path}.${n - 1}`, `${path}.${n}`);
      copyFileSync(path, `${path}.1`);
    } catch {
      // No room for an older one: the bound matters more.
    }
    try {
      ftruncateSync(this.#descriptor, 0);
    } catch {
      // Of a file that cannot be cut the rest is lost, not the bound.
    }
    this.#bytes = 0;
  }
}

function regular(descriptor: number): {dev: bigint; ino: bigint; size: bigint} | null {
  try {
    const stat = fstatSync(descriptor, {bigint: true});
    return stat.isFile() ? stat : null;
  } catch {
    return null;
  }
}

function isSame(path: string, {dev, ino}: {dev: bigint; ino: bigint}): boolean {
  try {
    const stat = statSync(path, {bigint: true});
    return stat.dev === dev && stat.ino === ino;
  } catch {
    return false;
  }
}

function move(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch {
    // There were not so many yet.
  }
}
