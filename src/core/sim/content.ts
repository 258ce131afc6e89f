import {BLOCK_BYTES} from '../base/units.js';

/** The bytes of one block, and a hash by which two are compared. Immutable. */
interface Page {
  readonly bytes: Uint8Array;
  readonly hash: number;
}

/** What a block may hold: more than one page only after a crash, until somebody has looked. */
type Block = readonly Page[];

/** What a power cut leaves of a page is whole sectors of each of its versions. */
const SECTOR_BYTES = 512;

/** Sizes and versions of blocks that may come back. */
interface Versions {
  readonly sizes: readonly number[];
  readonly blocks: ReadonlyMap<number, Block>;
}

/**
 * What the crash of each client may bring back: all since it was last safe from it. Several may have written the same file, each in ranges of its
 * own; what one of them writes or reads the others have written back.
 */
type Volatile = ReadonlyMap<number, Versions>;

const NOBODY: Volatile = new Map();

/**
 * Blocks that are not simply one of their versions. `torn`: each sector may be of another one. `shaky`: a write of it failed on some servers, and until
 * their columns have been compared, it depends on which of them are read.
 */
type Doubtful = ReadonlyMap<number, 'torn' | 'shaky'>;

const NO_DOUBT: Doubtful = new Map();
const NO_VERSIONS: Versions = {sizes: [], blocks: new Map()};

function pageOf(bytes: Uint8Array): Page {
  let hash = 0x811c9dc5;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, BLOCK_BYTES / 4);
  for (const word of words) {
    hash = Math.imul(hash ^ word, 0x01000193);
    hash ^= hash >>> 15;
  }
  return {bytes, hash};
}

const ZERO = pageOf(new Uint8Array(BLOCK_BYTES));
const ZERO_BLOCK: Block = [ZERO];

function union(a: Block, b: Block): Block {
  const all = [...a];
  for (const page of b) if (!all.some((one) => one.hash === page.hash)) all.push(page);
  return all.sort((x, y) => x.hash - y.hash);
}

/** Bytes from `from` on are zeros. */
function cutPage(page: Page, from: number): Page {
  if (from >= BLOCK_BYTES) return page;
  if (from <= 0) return ZERO;
  const bytes = page.bytes.slice();
  bytes.fill(0, from);
  return pageOf(bytes);
}

const equal = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && Buffer.compare(a, b) === 0;

/** The bytes of a file as they should be. Immutable: every change makes a new one. */
export class Content {
  readonly size: number;
  readonly #blocks: ReadonlyMap<number, Block>;
  readonly #volatile: Volatile;
  /** What a power cut may bring back: all since the last sync. Null where none comes. */
  readonly #unsynced: Versions | null;
  readonly #torn: Doubtful;
  /** A write that failed had set the size, which may be taken back to this. Null: it is what it is. */
  readonly #fall: number | null;
  #key: string | null = null;

  private constructor(
    size: number,
    blocks: ReadonlyMap<number, Block>,
    volatile: Volatile,
    unsynced: Versions | null,
    torn: Doubtful = NO_DOUBT,
    fall: number | null = null,
  ) {
    this.#torn = torn;
    this.#fall = fall;
    this.size = size;
    this.#blocks = blocks;
    this.#volatile = volatile;
    this.#unsynced = unsynced;
  }

  /** Of a new file; `tracked`: it remembers what a power cut may bring back. */
  static start(tracked: boolean): Content {
    return new Content(0, new Map(), NOBODY, tracked ? NO_VERSIONS : null);
  }

  /** Equal for contents that no later observation can tell apart. */
  get key(): string {
    this.#key ??= [
      this.size,
      keyOf(this.#blocks),
      [...this.#volatile].sort((a, b) => a[0] - b[0]).map(([c, v]) => `${c}=${versionsKey(v)}`),
      versionsKey(this.#unsynced),
      [...this.#torn].map(([index, how]) => `${index}${how}`).sort(),
      this.#fall ?? '',
    ].join(';');
    return this.#key;
  }

  /** `append`: its writer had the whole file. */
  write(client: number, offset: number, bytes: Uint8Array, append = false): Content {
    const size = bytes.length === 0 ? this.size : Math.max(this.size, offset + bytes.length);
    const blocks = new Map(this.#blocks);
    const first = Math.floor(offset / BLOCK_BYTES);
    for (let index = first; index * BLOCK_BYTES < offset + bytes.length; index++) {
      const start = index * BLOCK_BYTES;
      const from = Math.max(offset, start);
      const to = Math.min(offset + bytes.length, start + BLOCK_BYTES);
      const piece = bytes.subarray(from - offset, to - offset);
      const was = blocks.get(index) ?? ZERO_BLOCK;
      const now = was.map((page) => {
        const copy = page.bytes.slice();
        copy.set(piece, from - start);
        return pageOf(copy);
      });
      blocks.set(index, union([], now));
    }
    const end = offset + bytes.length;
    const others = append ? NOBODY : this.#passed(client, offset, end, false);
    const fall = this.#fall === null || end >= this.size ? null : Math.max(this.#fall, end);
    return this.#changed(client, others, size, blocks, fall);
  }

  /** As `write`, which failed: each of its blocks is old or new, and so is the size; or what was written of it is cut at the old size before it grows. */
  half(
    client: number,
    offset: number,
    bytes: Uint8Array,
    append: boolean,
    shaky = false,
  ): Content[] {
    const done = this.write(client, offset, bytes, append);
    const blocks = new Map(done.#blocks);
    for (const [index, block] of blocks)
      blocks.set(index, union(this.#blocks.get(index) ?? ZERO_BLOCK, block));
    const last = Math.floor(this.size / BLOCK_BYTES);
    const block = blocks.get(last);
    if (done.size > this.size && block !== undefined) {
      const kept = block.map((page) => cutPage(page, this.size - last * BLOCK_BYTES));
      blocks.set(last, union(block, kept));
    }
    const of = (size: number): Content => {
      const fall = shaky && size > this.size ? (this.#fall ?? this.size) : this.#fall;
      return new Content(size, cutBlocks(blocks, size), done.#volatile, done.#unsynced, torn, fall);
    };
    const touched = [...blocks].filter(([index, block]) => block !== this.#blocks.get(index));
    const indexes = touched.map(([index]) => index);
    const torn = shaky ? stillTorn(withDoubt(done.#torn, indexes, 'shaky'), blocks) : done.#torn;
    return done.size === this.size ? [of(this.size)] : [of(this.size), of(done.size)];
  }

  /** As `truncate`, which failed: what lies behind the cut is old or zeros. */
  halfCut(client: number, size: number): Content {
    const blocks = new Map(this.#blocks);
    const kept = cutBlocks(this.#blocks, size);
    for (const [index, block] of this.#blocks)
      blocks.set(index, union(block, kept.get(index) ?? ZERO_BLOCK));
    const cut = this.#changed(client, NOBODY, this.size, blocks);
    const torn = stillTorn(withDoubt(cut.#torn, blocks.keys(), 'shaky'), blocks);
    return new Content(cut.size, cut.#blocks, cut.#volatile, cut.#unsynced, torn);
  }

  truncate(client: number, size: number): Content {
    return this.#changed(client, NOBODY, size, cutBlocks(this.#blocks, size));
  }

  #changed(
    client: number,
    others: Volatile,
    size: number,
    blocks: ReadonlyMap<number, Block>,
    fall: number | null = null,
  ): Content {
    const old = this.#volatile.get(client) ?? NO_VERSIONS;
    const volatile = new Map(others).set(client, this.#added(old, blocks));
    const unsynced = this.#unsynced && this.#added(this.#unsynced, blocks);
    return new Content(size, blocks, volatile, unsynced, stillTorn(this.#torn, blocks), fall);
  }

  /** `old` and what this is, where `next` differs from it. */
  #added(old: Versions, next: ReadonlyMap<number, Block>): Versions {
    const blocks = new Map(old.blocks);
    for (const index of new Set([...this.#blocks.keys(), ...next.keys()])) {
      const was = this.#blocks.get(index) ?? ZERO_BLOCK;
      if (next.get(index) !== was) blocks.set(index, union(blocks.get(index) ?? [], was));
    }
    return {sizes: withSize(old.sizes, this.size), blocks};
  }

  /** What it must have been for `observed` to be the answer; null if nothing fits. */
  read(client: number, offset: number, length: number, observed: Uint8Array): Content | null {
    const expected = Math.max(0, Math.min(length, this.size - offset));
    if (observed.length !== expected)
      return this.fallen?.read(client, offset, length, observed) ?? null;
    const end = offset + observed.length;
    const seen = this.#seen(this.#passed(client, offset, end, observed.length < length));
    let blocks: Map<number, Block> | null = null;
    for (let at = 0; at < expected; ) {
      const index = Math.floor((offset + at) / BLOCK_BYTES);
      const inBlock = offset + at - index * BLOCK_BYTES;
      const piece = Math.min(expected - at, BLOCK_BYTES - inBlock);
      const bytes = observed.subarray(at, at + piece);
      const block = this.#blocks.get(index) ?? ZERO_BLOCK;
      const fit = block.filter((page) =>
        equal(page.bytes.subarray(inBlock, inBlock + piece), bytes),
      );
      const doubt = this.#torn.get(index);
      if (doubt === 'torn') {
        const whole = piece === BLOCK_BYTES;
        if (fit.length === 0 && !isMixed(block, inBlock, bytes)) return null;
        if (whole) {
          blocks ??= new Map(seen.#blocks);
          blocks.set(index, [pageOf(bytes.slice())]);
        }
      } else if (fit.length === 0) return null;
      else if (fit.length < block.length && doubt === undefined) {
        blocks ??= new Map(seen.#blocks);
        blocks.set(index, fit);
      }
      at += piece;
    }
    return blocks === null
      ? seen
      : new Content(
          seen.size,
          blocks,
          seen.#volatile,
          seen.#unsynced,
          stillTorn(seen.#torn, blocks),
          seen.#fall,
        );
  }

  /**
   * What is volatile when `client` has had these bytes to read or to write: others have written them back, and what it knows of the size they
   * have told. `size`: it has seen where the file ends.
   */
  #passed(client: number, from: number, to: number, size: boolean): Volatile {
    const first = Math.floor(from / BLOCK_BYTES);
    const last = Math.ceil(to / BLOCK_BYTES);
    const left = new Map<number, Versions>();
    for (const [owner, versions] of this.#volatile) {
      if (owner === client) {
        left.set(owner, versions);
        continue;
      }
      const blocks = [...versions.blocks].filter(([index]) => index < first || index >= last);
      const sizes = size ? [] : [...new Set(versions.sizes.map((one) => Math.max(one, to)))];
      const rest = {sizes: sizes.filter((one) => one !== this.size), blocks: new Map(blocks)};
      if (hasVersions(rest)) left.set(owner, rest);
    }
    return left;
  }

  #seen(volatile: Volatile): Content {
    if (volatile.size === 0 && this.#volatile.size === 0) return this;
    const {size} = this;
    const next = new Content(size, this.#blocks, volatile, this.#unsynced, this.#torn, this.#fall);
    return next.key === this.key ? this : next;
  }

  /** `client` has synced: what it wrote is safe from its crash, and from power cuts. What another one has in its cache is not. */
  synced(client: number): Content {
    const volatile = new Map(this.#volatile);
    const had = volatile.delete(client);
    let unsynced = this.#unsynced;
    if (unsynced !== null && hasVersions(unsynced)) {
      const others = new Set([...volatile.values()].flatMap(({blocks}) => [...blocks.keys()]));
      const blocks = new Map([...unsynced.blocks].filter(([index]) => others.has(index)));
      const sizes = [...volatile.values()].some((one) => one.sizes.length > 0);
      unsynced = {sizes: sizes ? unsynced.sizes : [], blocks};
      if (versionsKey(unsynced) === versionsKey(this.#unsynced)) unsynced = this.#unsynced;
    }
    if (!had && unsynced === this.#unsynced) return this;
    return new Content(this.size, this.#blocks, volatile, unsynced, this.#torn, this.#fall);
  }

  /** With the size taken back that a failed write had set; null: there is none. */
  get fallen(): Content | null {
    if (this.#fall === null) return null;
    const blocks = cutBlocks(this.#blocks, this.#fall);
    return new Content(this.#fall, blocks, this.#volatile, this.#unsynced, this.#torn);
  }

  /** What may be left after `client` died, or has given up: each of its sizes, each block old or new. */
  crashed(client: number, shaky = false): Content[] {
    const old = this.#volatile.get(client);
    if (old === undefined) return [this];
    const volatile = new Map(this.#volatile);
    volatile.delete(client);
    const torn = shaky ? withDoubt(this.#torn, old.blocks.keys(), 'shaky') : this.#torn;
    return this.#variants(old, volatile, torn);
  }

  /** What a power cut may have made of it: as `crashed`, for all that no sync has covered. */
  cut(): Content[] {
    if (this.#unsynced === null || !hasVersions(this.#unsynced)) return [this];
    const torn = withDoubt(this.#torn, this.#unsynced.blocks.keys(), 'torn');
    return this.#variants(this.#unsynced, this.#volatile, torn);
  }

  /** Has `cut` more than one outcome, or another one? */
  get unsure(): boolean {
    return this.#unsynced !== null && hasVersions(this.#unsynced);
  }

  #variants(old: Versions, volatile: Volatile, torn: Doubtful): Content[] {
    const blocks = new Map(this.#blocks);
    for (const [index, was] of old.blocks) {
      blocks.set(index, union(blocks.get(index) ?? ZERO_BLOCK, was));
    }
    const sizes = new Set([...old.sizes, this.size]);
    return [...sizes].map(
      (size) => new Content(size, cutBlocks(blocks, size), volatile, this.#unsynced, torn),
    );
  }

  /** For messages: where `observed` differs from this. */
  difference(offset: number, length: number, observed: Uint8Array): string {
    const expected = Math.max(0, Math.min(length, this.size - offset));
    if (observed.length !== expected)
      return `${observed.length} bytes instead of ${expected} (size ${this.size})`;
    for (let at = 0; at < expected; at++) {
      const index = Math.floor((offset + at) / BLOCK_BYTES);
      const block = this.#blocks.get(index) ?? ZERO_BLOCK;
      const values = block.map((page) => page.bytes[(offset + at) % BLOCK_BYTES]);
      if (!values.includes(observed[at]))
        return `byte ${offset + at} is ${observed[at]}, not ${values.join(' or ')}`;
    }
    return 'no single byte differs';
  }
}

/** Blocks of zeros are as none; `every`: they are not. */
function keyOf(blocks: ReadonlyMap<number, Block>, every = false): string {
  const parts: string[] = [];
  for (const [index, block] of [...blocks].sort((a, b) => a[0] - b[0])) {
    if (!every && block.length === 1 && block[0] === ZERO) continue;
    parts.push(`${index}:${block.map((page) => page.hash).join('/')}`);
  }
  return parts.join();
}

/** Is each sector of what was read of a block that of some version? */
function isMixed(block: Block, from: number, bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; ) {
    const next = Math.min(bytes.length, SECTOR_BYTES - ((from + at) % SECTOR_BYTES) + at);
    const piece = bytes.subarray(at, next);
    const start = from + at;
    if (!block.some(({bytes: all}) => equal(all.subarray(start, start + piece.length), piece)))
      return false;
    at = next;
  }
  return true;
}

/** Blocks of which somebody has seen everything are what he saw. */
const stillTorn = (torn: Doubtful, blocks: ReadonlyMap<number, Block>): Doubtful =>
  torn.size === 0
    ? torn
    : new Map([...torn].filter(([index]) => (blocks.get(index) ?? ZERO_BLOCK).length !== 1));

const withDoubt = (torn: Doubtful, indexes: Iterable<number>, how: 'torn' | 'shaky'): Doubtful =>
  new Map([...torn, ...[...indexes].map((index) => [index, how] as const)]);

const hasVersions = ({sizes, blocks}: Versions): boolean => sizes.length > 0 || blocks.size > 0;

const versionsKey = (versions: Versions | null): string =>
  versions === null ? '' : `${[...versions.sizes].sort().join()},${keyOf(versions.blocks, true)}`;

function cutBlocks(blocks: ReadonlyMap<number, Block>, size: number): Map<number, Block> {
  const cut = new Map<number, Block>();
  for (const [index, block] of blocks) {
    const keep = size - index * BLOCK_BYTES;
    if (keep <= 0) continue;
    cut.set(
      index,
      keep >= BLOCK_BYTES
        ? block
        : union(
            [],
            block.map((page) => cutPage(page, keep)),
          ),
    );
  }
  return cut;
}

function withSize(sizes: readonly number[], size: number): readonly number[] {
  return sizes.includes(size) ? sizes : [...sizes, size];
}
