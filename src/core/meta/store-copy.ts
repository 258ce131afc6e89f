import {FsError} from '../base/errors.js';
import type {Env} from '../env/env.js';
import type {Kv, KvView} from '../env/kv.js';
import {ByteReader, ByteWriter} from './byte-writer.js';
import {LOG_FOLDER, type LogPosition} from './log.js';
import {POSITION_KEY, positionIn} from './store.js';

/** There while a copy is put into a store: what is in it is of no use. */
const INSTALLING_KEY = '\0installing';
/** Behind all keys. */
const END = '\xff'.repeat(9);
const RANGE_ENTRIES = 256;
/** More are not removed one by one. */
const DELETE_ENTRIES = 4096;

/** FsError EIO: a copy of another store did not get to its end here. */
export function checkWhole(kv: Kv): void {
  if (kv.get(INSTALLING_KEY) !== undefined)
    throw new FsError('EIO', 'the copy of another meta server in this folder is not whole');
}

/** All entries of a store, in pieces of about `bytes`; the position comes last: with it the copy is whole. */
export function* piecesOf(view: KvView, bytes: number): Generator<Uint8Array> {
  const position = [...view.range(POSITION_KEY, `${POSITION_KEY}\0`, 1)];
  let w = new ByteWriter(bytes);
  for (let from = `${POSITION_KEY}\0`; ; ) {
    let count = 0;
    for (const [key, value] of view.range(from, END, RANGE_ENTRIES)) {
      count++;
      from = `${key}\0`;
      const size = key.length + value.length + 16;
      if (w.length > 0 && w.length + size > bytes) {
        yield w.end();
        w = new ByteWriter(bytes);
      }
      put(w, key, value);
    }
    if (count < RANGE_ENTRIES) break;
  }
  if (w.length > 0) yield w.end();
  w = new ByteWriter(64);
  for (const [key, value] of position) put(w, key, value);
  yield w.end();
}

function put(w: ByteWriter, key: string, value: Uint8Array): void {
  w.blob(Buffer.from(key, 'latin1')).blob(value);
}

function* entriesOf(piece: Uint8Array): Generator<[string, Uint8Array]> {
  const r = new ByteReader(piece);
  while (r.left > 0) {
    const key = Buffer.from(r.blob()).toString('latin1');
    yield [key, Uint8Array.from(r.blob())];
  }
}

/** What the last piece says that the state is as of; an empty one: of the beginning. FsError EIO: it is not the last one. */
export function positionOfPiece(piece: Uint8Array): LogPosition & {digest: number} {
  const row = [...entriesOf(piece)].filter(([key]) => key === POSITION_KEY);
  if (row.length === 0 && piece.length > 0) throw new FsError('EIO', 'the state has no end');
  return positionIn({range: () => row});
}

/** Makes a store the copy of another one; whatever was in it and in its log goes first. */
export class StoreCopy {
  readonly #kv: Kv;

  private constructor(kv: Kv) {
    this.#kv = kv;
  }

  /** Nothing may use the store and the log. */
  static async begin({kv, disk}: Pick<Env, 'kv' | 'disk'>): Promise<StoreCopy> {
    await kv.write([[INSTALLING_KEY, new Uint8Array(1)]]);
    const gone = [...kv.range(`${INSTALLING_KEY}\0`, END, DELETE_ENTRIES)];
    if (gone.length === DELETE_ENTRIES) await kv.clear([INSTALLING_KEY, new Uint8Array(1)]);
    else if (gone.length > 0) await kv.write(gone.map(([key]) => [key, null]));
    await disk.removeTree(LOG_FOLDER);
    await disk.syncAll();
    return new StoreCopy(kv);
  }

  /** In order. `last`: then it is whole. */
  async put(piece: Uint8Array, last: boolean): Promise<void> {
    const entries: [string, Uint8Array | null][] = [...entriesOf(piece)];
    if (last) entries.push([INSTALLING_KEY, null]);
    await this.#kv.write(entries);
  }
}
