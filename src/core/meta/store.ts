import BTreeModule from 'sorted-btree';
import {assert} from '../base/assert.js';
import {crc32c} from '../base/crc32c.js';
import type {Kv, KvView} from '../env/kv.js';
import {ByteReader, ByteWriter} from './byte-writer.js';
import type {LogPosition} from './log.js';

const BTree = BTreeModule.default;
type Overlay = BTreeModule.default<string, Uint8Array | null>;
export type Entry = [key: string, value: Uint8Array];

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const newOverlay = (): Overlay => new BTree<string, Uint8Array | null>(undefined, compare);

/** Where the log's position stands in the Kv. Not part of the state: the lowest key, before all letters. */
export const POSITION_KEY = '\0position';

/** What a store that was made otherwise has to say that it is as of batch `position`. */
export const positionEntry = (position: number): Entry => [
  POSITION_KEY,
  encodePosition({sequence: position, sum: 0, digest: 0}),
];
/** Of the state in a store. `digest`: see LayeredStore. */
export const positionIn = (view: Pick<KvView, 'range'>): LogPosition & {digest: number} =>
  decodePosition([...view.range(POSITION_KEY, `${POSITION_KEY}\0`, 1)][0]?.[1]);

/** What a store says that is as of this position. */
export const entryOf = (position: LogPosition & {digest: number}): Entry => [
  POSITION_KEY,
  encodePosition(position),
];
/** What an entry costs in memory beside its bytes: string header, array header, tree node; measured at about 150. */
const ENTRY_BYTES = 150;

/**
 * The state: a Kv as of the last checkpoint, under what has changed since. While a checkpoint is written, its changes
 * (frozen) lie between the two. Null in a layer hides what lies below. Values belong to the store once they were put.
 */
export class LayeredStore {
  readonly #kv: Kv;
  #overlay: Overlay = newOverlay();
  #frozen: Overlay | null = null;
  #position: LogPosition;
  #overlayBytes = 0;
  #digest: number;

  constructor(kv: Kv) {
    this.#kv = kv;
    const {digest, ...position} = decodePosition(kv.get(POSITION_KEY));
    this.#position = position;
    this.#digest = digest;
  }

  /** The last batch that the Kv holds. */
  get position(): LogPosition {
    return this.#position;
  }

  /**
   * Of all changes that were ever made, in their order: the same on whoever carries out the same batches. 32 bits. To begin with,
   * that of the Kv.
   */
  get digest(): number {
    return this.#digest;
  }

  set digest(digest: number) {
    this.#digest = digest;
  }

  /** About the memory that the next checkpoint will free. */
  get overlayBytes(): number {
    return this.#overlayBytes;
  }

  /** What the next checkpoint will write. */
  get overlayEntries(): number {
    return this.#overlay.size;
  }

  get checkpointing(): boolean {
    return this.#frozen !== null;
  }

  get(key: string): Uint8Array | undefined {
    let value = this.#overlay.get(key);
    if (value === undefined && this.#frozen !== null) value = this.#frozen.get(key);
    return value === undefined ? this.#kv.get(key) : (value ?? undefined);
  }

  put(key: string, value: Uint8Array): void {
    this.#digest = crc32c(value, 0, value.length, mixed(this.#digest, key));
    if (this.#overlay.set(key, value)) this.#overlayBytes += ENTRY_BYTES + key.length;
    this.#overlayBytes += value.length;
  }

  del(key: string): void {
    this.#digest = ~mixed(this.#digest, key) >>> 0;
    if (this.#overlay.set(key, null)) this.#overlayBytes += ENTRY_BYTES + key.length;
  }

  /** Entries with from <= key < to, ascending, at most `limit`. */
  range(from: string, to: string, limit: number): Entry[] {
    const layers = [new OverlayCursor(this.#overlay, from, to)];
    if (this.#frozen !== null) layers.push(new OverlayCursor(this.#frozen, from, to));
    const kv = new KvCursor(this.#kv, from, to, limit);
    const result: Entry[] = [];
    while (result.length < limit) {
      let key = kv.key;
      for (const layer of layers) {
        if (layer.key !== null && (key === null || layer.key < key)) key = layer.key;
      }
      if (key === null) break;
      // The uppermost layer that has the key decides; all that have it go on.
      let value: Uint8Array | null | undefined;
      for (const layer of layers) {
        if (layer.key !== key) continue;
        if (value === undefined) value = layer.value;
        layer.next();
      }
      if (kv.key === key) {
        if (value === undefined) value = kv.value;
        kv.next();
      }
      if (value) result.push([key, value]);
    }
    return result;
  }

  /**
   * Writes everything up to now into the Kv, as the state after batch `position`, when `logged` has resolved: the log
   * must never end before the store does. Reads and changes go on meanwhile. One at a time. `note` sees what is about to be written.
   */
  async checkpoint(
    position: LogPosition,
    logged: Promise<unknown>,
    note?: (changes: Iterable<[string, Uint8Array | null]>, from: number) => Promise<void>,
  ): Promise<void> {
    assert(this.#frozen === null, 'one checkpoint at a time');
    assert(position.sequence >= this.#position.sequence, 'a checkpoint goes forward');
    const frozen = this.#overlay;
    const digest = this.#digest;
    this.#frozen = frozen;
    this.#overlay = newOverlay();
    this.#overlayBytes = 0;
    await logged;
    if (note !== undefined) await note(frozen.entries(), this.#position.sequence);
    await this.#kv.write(withPosition(frozen, encodePosition({...position, digest})));
    this.#position = position;
    this.#frozen = null;
  }
}

/** FNV-1a over the bytes of a key. */
function mixed(digest: number, key: string): number {
  let mix = digest;
  for (let i = 0; i < key.length; i++) mix = Math.imul(mix ^ key.charCodeAt(i), 0x0100_0193);
  return mix >>> 0;
}

function decodePosition(bytes: Uint8Array | undefined): LogPosition & {digest: number} {
  if (bytes === undefined) return {sequence: 0, sum: 0, digest: 0};
  const r = new ByteReader(bytes);
  const sequence = r.int();
  // Older releases have kept no more.
  return bytes.length === 8
    ? {sequence, sum: 0, digest: 0}
    : {sequence, sum: r.u32(), digest: r.u32()};
}

const encodePosition = ({sequence, sum, digest}: LogPosition & {digest: number}): Uint8Array =>
  new ByteWriter(16).int(sequence).u32(sum).u32(digest).take();

function* withPosition(
  changes: Overlay,
  position: Uint8Array,
): Iterable<[string, Uint8Array | null]> {
  yield [POSITION_KEY, position];
  yield* changes.entries();
}

/** One overlay from `from` on. `key` is null at the end. */
class OverlayCursor {
  key: string | null = null;
  value: Uint8Array | null = null;
  readonly #entries: Iterator<[string, Uint8Array | null]> | null;
  readonly #to: string;

  constructor(overlay: Overlay, from: string, to: string) {
    this.#to = to;
    this.#entries = overlay.isEmpty ? null : overlay.entries(from, []);
    this.next();
  }

  next(): void {
    const step = this.#entries?.next();
    if (step === undefined || step.done === true || step.value[0] >= this.#to) {
      this.key = null;
      return;
    }
    this.key = step.value[0];
    this.value = step.value[1];
  }
}

/** The Kv from `from` on, in pieces: what is hidden above does not count towards the limit. */
class KvCursor {
  key: string | null = null;
  value: Uint8Array | null = null;
  readonly #kv: Kv;
  readonly #to: string;
  readonly #limit: number;
  #piece: Entry[] = [];
  #index = 0;
  #from: string | null;

  constructor(kv: Kv, from: string, to: string, limit: number) {
    this.#kv = kv;
    this.#from = from;
    this.#to = to;
    this.#limit = Math.max(1, limit);
    this.next();
  }

  next(): void {
    if (this.#index === this.#piece.length && this.#from !== null) {
      this.#piece = [...this.#kv.range(this.#from, this.#to, this.#limit)];
      this.#index = 0;
      const last = this.#piece.at(-1);
      // The next key after k is k followed by the lowest byte.
      this.#from = last === undefined || this.#piece.length < this.#limit ? null : `${last[0]}\0`;
    }
    const entry = this.#piece[this.#index++];
    this.key = entry === undefined ? null : entry[0];
    this.value = entry === undefined ? null : entry[1];
    if (entry === undefined) this.#index = this.#piece.length;
  }
}
