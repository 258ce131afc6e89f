import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {LEASE} from '../protocol/ops.js';
import type {FileParts} from './files.js';
import type {Held} from './held.js';
import {truncateIf} from './truncate.js';

/** After a server was full, writes go through for so long. */
const FULL_MS: Ms = 30_000;
/** So long a write waits for room that what others have written takes, if there is no space for that. */
const ROOM_MS_MAX: Ms = 30_000;

/** A write whose program waits until its bytes are with their servers. */
interface Through {
  held: Held;
  from: number;
  to: number;
  /** Why bytes of it were given up by somebody else. */
  failed: FsError | null;
}

/** Writes that end when their bytes are with their servers: as was asked for, or because little space is left. */
export class WriteThrough {
  readonly #parts: FileParts;
  readonly #running = new Set<Through>();

  constructor(parts: FileParts) {
    this.#parts = parts;
  }

  /** As was asked for; or little space is left: ENOSPC must reach the program with write(2), not after it. */
  wanted(held: Held): boolean {
    return this.#parts.writeThrough || this.#short(held);
  }

  #short(held: Held): boolean {
    const {cache, flusher, path} = this.#parts;
    if (path.clock.now() < flusher.fullAt + FULL_MS) return true;
    const groups = held.layout!.groups;
    for (const group of path.columns.map.groups) {
      if (!groups.includes(group.id)) continue;
      for (const {server} of group.slots) {
        if (server === null || server.totalBytes === 0) continue;
        if (server.freeBytes < 2 * cache.bytesMax) return true;
      }
    }
    return false;
  }

  /**
   * To be awaited before a write, if it is not null: what was delayed when there was space goes first, so that what fails with the write is its own
   * bytes alone. Rejects with ENOSPC: nothing was written, and the next fsync tells of what was delayed.
   */
  before(held: Held): Promise<void> | null {
    if (this.#parts.writeThrough || !held.unwritten || !this.#short(held)) return null;
    return this.#parts.flusher.flush(held).then(
      () => {},
      (error: unknown) => {
        if (!(error instanceof FsError && error.errno === 'ENOSPC')) return;
        held.error ??= error;
        throw error;
      },
    );
  }

  /** A write finds no room among what is dirty, since `since`. Throws ENOSPC if what is there cannot be written back either. */
  noRoom(held: Held, since: Ms): void {
    const {flusher, path} = this.#parts;
    const now = path.clock.now();
    const late = now >= since + ROOM_MS_MAX && now < flusher.fullAt + FULL_MS;
    if (held.error?.errno === 'ENOSPC' || late)
      throw new FsError('ENOSPC', 'what was written before cannot be written back');
  }

  /** Bytes from `from` to `to` have just been written into the cache, without a step in between. `sizeBefore`: of the object, before that. */
  async run(held: Held, sizeBefore: number, from: number, to: number): Promise<void> {
    const write: Through = {held, from, to, failed: null};
    this.#running.add(write);
    try {
      await this.#parts.flusher.flush(held);
      if (write.failed !== null) throw write.failed;
    } catch (error) {
      this.#running.delete(write);
      const reason = error instanceof FsError ? error : new FsError('EIO', messageOf(error));
      this.#drop(held, from, to, reason);
      await this.#shorten(held, sizeBefore, to);
      throw error;
    } finally {
      this.#running.delete(write);
    }
  }

  /** Somebody has been told that nothing which is dirty could be written: it may go. */
  giveUp(held: Held, reason: FsError): void {
    for (const write of this.#running) if (write.held === held) write.failed ??= reason;
    held.giveUp();
    this.#parts.flusher.forget(held);
    void this.#parts.syncer.doubt(held);
  }

  /** The same of these bytes; others stay, and are tried again. */
  #drop(held: Held, from: number, to: number, reason: FsError): void {
    // What goes with the inode, or comes from there, goes as a whole.
    if (held.moving || held.inlineNews) {
      this.giveUp(held, reason);
      return;
    }
    for (const write of this.#running)
      if (write.held === held && write.from < to && from < write.to) write.failed ??= reason;
    held.giveUpRange(from, to);
    this.#parts.flusher.forget(held);
    void this.#parts.syncer.doubt(held);
  }

  /** Nobody was told of the bytes beyond: what of them has reached columns goes again. */
  async #shorten(held: Held, sizeBefore: number, end: number): Promise<void> {
    const {path} = this.#parts;
    // Others may have cut it or written more by then.
    const still = (): boolean =>
      held.mode === LEASE.write && sizeBefore < held.size && held.size === end;
    if (!still()) return;
    await truncateIf(this.#parts, held, sizeBefore, {}, still).catch((reason: unknown) =>
      path.log.warn('write.not-undone', {oid: held.oid, reason: messageOf(reason)}),
    );
  }
}
