import {assert} from './assert.js';
import {KIB, MIB} from './units.js';

/** A slot's number. What it holds is read and written through the pool; it is a number so that queues hold no objects. */
export type Slot = number;

/** A piece of pool memory: `length` bytes at the absolute byte `offset` of the memory, inside `slot`. */
export interface Segment {
  slot: Slot;
  offset: number;
  length: number;
}

/** Small slots carry requests of a few blocks, large ones a whole 1 MiB request of the kernel. */
export interface PoolShape {
  /** Slots of 16 KiB. */
  small: number;
  /** Slots of 128 KiB. */
  medium: number;
  /** Slots of 1 MiB, with a control page before and 4 KiB slack behind (FUSE.md section 4). */
  large: number;
}

const CONTROL_BYTES = 4096;
const PAYLOAD = [16 * KIB, 128 * KIB, MIB] as const;
const STRIDE = [16 * KIB, 128 * KIB, CONTROL_BYTES + MIB + 4096] as const;
/** The payload capacity of a large slot, and so of a frame. */
export const PAYLOAD_BYTES_MAX = MIB;
/** Bytes from one large slot to the next. */
export const LARGE_SLOT_BYTES = STRIDE[2];

export function poolBytes(shape: PoolShape): number {
  return shape.small * STRIDE[0] + shape.medium * STRIDE[1] + shape.large * STRIDE[2];
}

/**
 * Payload memory in page-aligned, reference-counted slots over one ArrayBuffer. Whoever holds a reference may
 * read; only the one that allocated, before it shared the slot, may write. Never grows: `alloc` answers -1 when
 * there is nothing left, and the caller holds back its peer instead.
 *
 * Invariant: a slot is on its class's free list exactly when its count is 0.
 */
export class BufferPool {
  readonly memory: ArrayBuffer;
  readonly bytes: Buffer;
  readonly #references: Int32Array;
  readonly #free: [Slot[], Slot[], Slot[]] = [[], [], []];
  readonly #starts: [number, number, number];
  readonly #shape: readonly [number, number, number];
  #waiters: (() => void)[] = [];
  #aside = 0;

  constructor(memory: ArrayBuffer, shape: PoolShape) {
    assert(memory.byteLength >= poolBytes(shape), 'memory is too small for the pool');
    this.memory = memory;
    this.bytes = Buffer.from(memory);
    this.#shape = [shape.small, shape.medium, shape.large];
    // Large slots first: their stride keeps everything page aligned from the start of the memory.
    const smallStart = shape.large * STRIDE[2] + shape.medium * STRIDE[1];
    this.#starts = [smallStart, shape.large * STRIDE[2], 0];
    const count = shape.small + shape.medium + shape.large;
    this.#references = new Int32Array(count);
    for (let slot = count - 1; slot >= 0; slot--) this.#free[this.#class(slot)].push(slot);
  }

  /** A slot with room for `bytes`, referenced once; -1 if none is free. `bytes` is at most PAYLOAD_BYTES_MAX. */
  alloc(bytes: number): Slot {
    assert(bytes <= PAYLOAD_BYTES_MAX, `no slot holds ${bytes} bytes`);
    for (let kind = bytes <= PAYLOAD[0] ? 0 : bytes <= PAYLOAD[1] ? 1 : 2; kind < 3; kind++) {
      const slot = this.#free[kind as 0 | 1 | 2].pop();
      if (slot !== undefined) {
        this.#references[slot] = 1;
        return slot;
      }
    }
    return -1;
  }

  /**
   * As `alloc`, of at most 128 KiB, for what stays until it has been written back: leaves a third of the medium slots (`passing`) and half of
   * the large ones to what comes and goes, and the writing back is of that.
   */
  allocToKeep(bytes: number): Slot {
    const [, mediums, larges] = this.#shape;
    const [, medium, large] = this.#free;
    if (medium.length > mediums / 3) return this.alloc(bytes);
    return large.length > larges / 2 ? this.alloc(PAYLOAD_BYTES_MAX) : -1;
  }

  /** Medium slots that what is kept leaves alone. */
  get passing(): number {
    return Math.floor(this.#shape[1] / 3);
  }

  /** As `alloc`, for as long as its taker lives: not counted in `used`. Given back with `takeBack`. */
  setAside(bytes: number): Slot {
    const slot = this.alloc(bytes);
    if (slot >= 0) this.#aside++;
    return slot;
  }

  takeBack(slot: Slot): void {
    this.#aside--;
    this.release(slot);
  }

  retain(slot: Slot): void {
    assert(this.#references[slot]! > 0, 'retain of a free slot');
    this.#references[slot]!++;
  }

  release(slot: Slot): void {
    const left = --this.#references[slot]!;
    assert(left >= 0, 'release of a free slot');
    if (left > 0) return;
    this.#free[this.#class(slot)].push(slot);
    if (this.#waiters.length > 0) {
      const waiters = this.#waiters;
      this.#waiters = [];
      for (const wake of waiters) wake();
    }
  }

  /** Calls `wake` once, after the next slot has become free. */
  onFree(wake: () => void): void {
    this.#waiters.push(wake);
  }

  references(slot: Slot): number {
    return this.#references[slot]!;
  }

  /** Absolute offset of the slot's payload in `memory`. */
  payload(slot: Slot): number {
    const kind = this.#class(slot);
    return this.#base(slot, kind) + (kind === 2 ? CONTROL_BYTES : 0);
  }

  /** Absolute offset of a large slot's control page, which precedes its payload. */
  control(slot: Slot): number {
    assert(this.#class(slot) === 2, 'only large slots have a control page');
    return this.#base(slot, 2);
  }

  /** The large slot whose control page is at this offset. */
  largeAt(control: number): Slot {
    return this.#shape[0] + this.#shape[1] + control / STRIDE[2];
  }

  capacity(slot: Slot): number {
    return PAYLOAD[this.#class(slot)];
  }

  /** A view; it must not outlive the caller's reference to the slot. */
  view(offset: number, length: number): Buffer {
    return this.bytes.subarray(offset, offset + length);
  }

  /** How many slots of the class that holds `bytes` are free. */
  freeCount(bytes: number): number {
    return this.#free[bytes <= PAYLOAD[0] ? 0 : bytes <= PAYLOAD[1] ? 1 : 2].length;
  }

  /** Slots in use, without those set aside; 0 when nothing has leaked. */
  get used(): number {
    const [small, medium, large] = this.#free;
    return this.#references.length - small.length - medium.length - large.length - this.#aside;
  }

  #class(slot: Slot): 0 | 1 | 2 {
    return slot < this.#shape[0] ? 0 : slot < this.#shape[0] + this.#shape[1] ? 1 : 2;
  }

  #base(slot: Slot, kind: 0 | 1 | 2): number {
    const first = kind === 0 ? 0 : kind === 1 ? this.#shape[0] : this.#shape[0] + this.#shape[1];
    return this.#starts[kind] + (slot - first) * STRIDE[kind];
  }
}
