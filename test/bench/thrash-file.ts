import {constants} from 'node:fs';
import {type FileHandle, open, rename, unlink} from 'node:fs/promises';
import {join} from 'node:path';
import type {Calls, Fullness} from './thrash-calls.js';
import {CELL_BYTES, Cells} from './thrash-cells.js';

/** The file system has done what it must never do. */
export class Wrong extends Error {
  override readonly name = 'Wrong';
}

/** Calls that are told of a file that is wrong. */
const STORY_LINES_MAX = 80;

/** Which of the two mounts. */
export type Side = 0 | 1;
export const SIDES: readonly Side[] = [0, 1];
export type Mounts = readonly [string, string];

/** What all files of a worker share. */
export interface Ground {
  readonly mounts: Mounts;
  readonly calls: Calls;
  readonly fullness: Fullness;
  readonly moved: {read: number; wrote: number};
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? '';

/** One file and what must be in it. One call at a time changes the same bytes; calls of different ones may overlap. */
export class ThrashFile {
  readonly id: number;
  readonly cells: Cells;
  readonly #ground: Ground;
  readonly #handles: [FileHandle | null, FileHandle | null] = [null, null];
  /** Through which mounts something was written since the last fsync. */
  readonly #wrote = new Set<Side>();
  /** Relative to the mounts. */
  path: string;
  oid = 0;
  /** Since when there is something that was not fsynced. */
  #dirtySince: number | null = null;
  /** Nobody knows where it ends: a cut failed. */
  #vague = false;
  /** The newest calls. */
  readonly #story: string[] = [];
  /** Somebody damages it: nobody else uses it. */
  lent = false;

  constructor(ground: Ground, id: number, path: string, bytesMax: number) {
    this.#ground = ground;
    this.id = id;
    this.path = path;
    this.cells = new Cells(id, Math.ceil(bytesMax / CELL_BYTES));
  }

  async create(side: Side): Promise<void> {
    const {O_CREAT, O_EXCL, O_RDWR} = constants;
    this.#handles[side] = await this.#call('create', side, (path) =>
      open(path, O_RDWR | O_CREAT | O_EXCL, 0o644),
    );
    this.oid = (await this.#handles[side].stat()).ino;
    this.#changed(side);
  }

  async write(side: Side, first: number, count: number): Promise<void> {
    const handle = await this.#handle(side);
    const bytes = this.cells.write(first, count);
    this.#changed(side);
    let at = 0;
    while (at < bytes.length) {
      const from = at;
      const {bytesWritten} = await this.#call(
        'write',
        side,
        () => handle.write(bytes, from, bytes.length - from, first * CELL_BYTES + from),
        `${bytes.length - from} at ${first * CELL_BYTES + from}, ${this.cells.writes}`,
      );
      at += bytesWritten;
    }
    this.#ground.moved.wrote += bytes.length;
  }

  async cut(side: Side, count: number): Promise<void> {
    const handle = await this.#handle(side);
    this.#changed(side);
    this.#vague = true;
    this.cells.cut(count);
    await this.#call('truncate', side, () => handle.truncate(count * CELL_BYTES), `to ${count}`);
    await this.sync();
    this.#vague = false;
  }

  /** What was written is on stable storage: fsync through every mount that has written. */
  async sync(): Promise<void> {
    for (const side of [...this.#wrote]) {
      const handle = await this.#handle(side);
      await this.#call('fsync', side, () => handle.sync());
    }
    this.#wrote.clear();
    this.#dirtySince = null;
    this.cells.synced();
  }

  /** Through a handle that may write, past the kernel's pages; or through one that only reads. */
  async read(side: Side, first: number, count: number, writable: boolean): Promise<void> {
    const handle = writable
      ? await this.#handle(side)
      : await this.#call('open', side, (path) => open(path, constants.O_RDONLY));
    try {
      const bytes = await this.#readAll(handle, side, first, count);
      this.#judge(side, first, count, bytes);
    } finally {
      if (!writable) await this.#call('close', side, () => handle.close());
    }
  }

  readWhole(side: Side, writable: boolean): Promise<void> {
    // One cell more: what lies behind the end must not be there.
    return this.read(side, 0, this.cells.count + 1, writable);
  }

  async rename(side: Side, path: string): Promise<void> {
    const to = join(this.#ground.mounts[side], path);
    await this.#call('rename', side, (from) => rename(from, to));
    this.path = path;
  }

  async close(): Promise<void> {
    for (const side of SIDES) {
      const handle = this.#handles[side];
      if (handle === null) continue;
      this.#handles[side] = null;
      await this.#call('close', side, () => handle.close());
    }
  }

  async remove(side: Side): Promise<void> {
    await this.close();
    await this.#call('unlink', side, (path) => unlink(path));
  }

  /** May this be said to a program? Only that disks are full, while they are, or were since something was written. */
  excused(error: unknown): boolean {
    return codeOf(error) === 'ENOSPC' && this.#unsure(performance.now());
  }

  /** After an error that is excused: what was synced must be there all the same. Then it is removed. */
  async scrap(side: Side): Promise<void> {
    for (const one of SIDES) {
      const handle = this.#handles[one];
      this.#handles[one] = null;
      await handle?.close().catch((error: unknown) => {
        if (codeOf(error) !== 'ENOSPC') throw error;
      });
    }
    try {
      if (!this.#vague) await this.read(side, 0, this.cells.count, false);
    } catch (error) {
      // The close of the handle that reads hears of what the other mount could not write since.
      if (codeOf(error) !== 'ENOSPC') throw error;
    }
    await this.#call('unlink', side, (path) => unlink(path));
  }

  /** An error may have cost what was not synced. */
  get unsure(): boolean {
    return this.#dirtySince !== null && this.#unsure(performance.now());
  }

  #unsure(now: number): boolean {
    return this.#ground.fullness.since(this.#dirtySince ?? now);
  }

  #changed(side: Side): void {
    this.#wrote.add(side);
    this.#dirtySince ??= performance.now();
  }

  async #handle(side: Side): Promise<FileHandle> {
    const handle = this.#handles[side];
    if (handle !== null) return handle;
    const opened = await this.#call('open', side, (path) => open(path, constants.O_RDWR));
    // Two calls at once may both have opened it.
    const other = this.#handles[side];
    if (other !== null) {
      await opened.close();
      return other;
    }
    this.#handles[side] = opened;
    return opened;
  }

  async #readAll(handle: FileHandle, side: Side, first: number, count: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(count * CELL_BYTES);
    let at = 0;
    while (at < bytes.length) {
      const from = at;
      const {bytesRead} = await this.#call(
        'read',
        side,
        () => handle.read(bytes, from, bytes.length - from, first * CELL_BYTES + from),
        `${bytes.length - from} at ${first * CELL_BYTES + from}`,
      );
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    this.#ground.moved.read += at;
    return bytes.subarray(0, at);
  }

  #judge(side: Side, first: number, count: number, bytes: Buffer): void {
    const unsure = this.unsure;
    const expected = Math.max(0, Math.min(count, this.cells.count - first)) * CELL_BYTES;
    const where = `file ${this.id}, ${this.#named(side)}, object ${this.oid.toString(16)}`;
    if (bytes.length !== expected && !unsure)
      throw new Wrong(
        `${bytes.length} bytes, not ${expected}, from ${first * CELL_BYTES} on: ${where}`,
      );
    const wrong = this.cells.wrong(first, bytes.subarray(0, expected), unsure);
    if (wrong !== null)
      throw new Wrong(`wrong bytes: ${wrong}: ${where}\n${this.#story.join('\n')}`);
  }

  #named(side: Side): string {
    return join(this.#ground.mounts[side], this.path);
  }

  async #call<T>(
    kind: string,
    side: Side,
    call: (path: string) => Promise<T>,
    more = '',
  ): Promise<T> {
    const path = this.#named(side);
    const line = `${kind} ${path} ${more}`.trimEnd();
    this.#tell(`> ${line}`);
    try {
      return await this.#ground.calls.run(kind, `${path} ${more}`.trimEnd(), () => call(path));
    } finally {
      this.#tell(`< ${line}`);
    }
  }

  #tell(line: string): void {
    this.#story.push(`${new Date().toISOString()} ${line}`);
    if (this.#story.length > STORY_LINES_MAX) this.#story.shift();
  }
}
