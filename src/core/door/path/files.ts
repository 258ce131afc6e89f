import {FsError} from '../../base/errors.js';
import {type BufferPool, PAYLOAD_BYTES_MAX, type Segment, type Slot} from '../../base/pool.js';
import type {Caller, Client} from '../../client/api.js';
import {O_ACCMODE, O_APPEND, O_TRUNC} from '../open-flags.js';

export interface OpenFilesOptions {
  caller: Caller;
  readOnly: boolean;
  spareSlots: number;
}

interface OpenFile {
  oid: number;
  append: boolean;
}

/** A signed 32-bit number goes through the library. */
const NUMBER_MAX = 0x7fffffff;

/** What is open, by number; 0 is none. */
export class OpenFiles {
  readonly #client: Client;
  readonly #pool: BufferPool;
  readonly #options: OpenFilesOptions;
  readonly #open = new Map<number, OpenFile>();
  /** Only root's programs may keep set-id bits of what they write to; all programs are of one user. */
  readonly #killSuidgid: boolean;
  #last = 0;

  constructor(client: Client, pool: BufferPool, options: OpenFilesOptions) {
    this.#client = client;
    this.#pool = pool;
    this.#options = options;
    this.#killSuidgid = options.caller.uid !== 0;
  }

  get size(): number {
    return this.#open.size;
  }

  oidOf(fd: number): number {
    return this.#of(fd).oid;
  }

  async open(oid: number, flags: number): Promise<number> {
    const write = (flags & O_ACCMODE) !== 0;
    const truncate = (flags & O_TRUNC) !== 0;
    if (this.#options.readOnly && (write || truncate)) throw new FsError('EROFS');
    const killSuidgid = truncate && this.#killSuidgid;
    await this.#client.open(oid, {write, truncate, killSuidgid});
    do this.#last = this.#last === NUMBER_MAX ? 1 : this.#last + 1;
    while (this.#open.has(this.#last));
    this.#open.set(this.#last, {oid, append: (flags & O_APPEND) !== 0});
    return this.#last;
  }

  release(fd: number): void {
    const {oid} = this.#of(fd);
    this.#open.delete(fd);
    this.#client.release(oid);
  }

  /** Fills `into`; fewer bytes only at the end of the file. */
  async read(fd: number, into: Uint8Array, offset: number): Promise<number> {
    const segments = await this.#client.read(this.oidOf(fd), offset, into.length);
    let at = 0;
    for (const segment of segments) {
      into.set(this.#pool.view(segment.offset, segment.length), at);
      at += segment.length;
      this.#pool.release(segment.slot);
    }
    return at;
  }

  async write(fd: number, from: Uint8Array, offset: number): Promise<number> {
    if (this.#options.readOnly) throw new FsError('EROFS');
    const {oid, append} = this.#of(fd);
    const length = Math.min(from.length, PAYLOAD_BYTES_MAX);
    const slot = await this.#slot(length);
    const segment: Segment = {slot, offset: this.#pool.payload(slot), length};
    this.#pool.bytes.set(from.subarray(0, length), segment.offset);
    await this.#client.write(oid, offset, [segment], {append, killSuidgid: this.#killSuidgid});
    return length;
  }

  flush(fd: number): Promise<void> {
    return this.#client.flush(this.oidOf(fd));
  }

  fsync(fd: number, dataOnly: boolean): Promise<void> {
    return this.#client.fsync(this.oidOf(fd), dataOnly);
  }

  #of(fd: number): OpenFile {
    const file = this.#open.get(fd);
    if (file === undefined) throw new FsError('EBADF', `no file ${fd} is open`);
    return file;
  }

  /** Waits until the pool can spare one: the client needs slots of its own to get rid of what is written. */
  async #slot(length: number): Promise<Slot> {
    for (;;) {
      if (this.#pool.freeCount(PAYLOAD_BYTES_MAX) > this.#options.spareSlots) {
        const slot = this.#pool.alloc(length);
        if (slot >= 0) return slot;
      }
      await new Promise<void>((resolve) => this.#pool.onFree(resolve));
    }
  }
}
