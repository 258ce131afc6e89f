import {open, type RootDatabase} from 'lmdb';
import {FsError, messageOf} from '../base/errors.js';
import type {Kv} from '../env/kv.js';

/** What the map may grow to: address space, not memory or disk. */
const MAP_BYTES = 64 * 2 ** 30;

const keyBytes = (key: string): Buffer => Buffer.from(key, 'latin1');

/** LMDB in a folder, which is made when missing. One process at a time. */
export class LmdbKv implements Kv {
  readonly #root: RootDatabase<Buffer, Buffer>;

  private constructor(root: RootDatabase<Buffer, Buffer>) {
    this.#root = root;
  }

  static open(folder: string): LmdbKv {
    const root = open<Buffer, Buffer>(folder, {
      noSubdir: false,
      keyEncoding: 'binary',
      encoding: 'binary',
      mapSize: MAP_BYTES,
      cache: false,
      // A commit has been synced when its promise resolves; there is nothing to overlap with: one write at a time.
      overlappingSync: false,
    });
    return new LmdbKv(root);
  }

  get(key: string): Uint8Array | undefined {
    return this.#root.getBinary(keyBytes(key));
  }

  *range(from: string, to: string, limit: number): Iterable<[string, Uint8Array]> {
    const range = {start: keyBytes(from), end: keyBytes(to), limit};
    for (const {key, value} of this.#root.getRange(range)) {
      yield [key.toString('latin1'), value];
    }
  }

  /** The transaction is written and synced by LMDB's own thread. */
  async write(changes: Iterable<[string, Uint8Array | null]>): Promise<void> {
    try {
      await this.#root.batch(() => {
        for (const [key, value] of changes) {
          if (value === null) this.#root.remove(keyBytes(key));
          else this.#root.put(keyBytes(key), asBuffer(value));
        }
      });
      await this.#root.flushed;
    } catch (error) {
      throw new FsError('EIO', `lmdb: ${messageOf(error)}`, {cause: error});
    }
  }

  async close(): Promise<void> {
    await this.#root.close();
  }
}

const asBuffer = (bytes: Uint8Array): Buffer =>
  bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
