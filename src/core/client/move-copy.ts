import {FsError, messageOf} from '../base/errors.js';
import {alignUp, KIB, MIB} from '../base/units.js';
import {CHUNKS_END} from '../layout/generations.js';
import type {Layout} from '../layout/scheme.js';
import {stripeBytes} from '../layout/stripe.js';
import {LEASE, OPS} from '../protocol/ops.js';
import type {BytePath} from './columns.js';
import {ExtentList, SlotLedger} from './extents.js';
import {Held} from './held.js';
import type {OpenedClient} from './index.js';
import {Bits} from './pieces.js';
import {liveSlots} from './repair-path.js';
import {readStripes} from './stripe-reader.js';
import {type WriteTarget, writeStripes} from './stripe-writer.js';
import {writeTarget} from './target.js';
import {cutColumns} from './truncate.js';
import {Window} from './window.js';

/** Bytes that are read, and then written, at a time; whole stripes. */
const STEP_BYTES = 2 * MIB;
/** What is all zeros is left out in pieces of so many bytes: holes stay holes. */
const HOLE_BYTES = 64 * KIB;
const ZEROS = Buffer.alloc(HOLE_BYTES);

/** The columns that an object is copied to. Whole stripes are written, so nothing of them is ever read. */
export class MoveCopy {
  /** What is unsynced of it, and which chunks there are. It has no lease: nobody else knows of it. */
  readonly held: Held;
  readonly layout: Layout;
  readonly stripe: number;
  readonly step: number;
  readonly #source: {oid: number; layout: Layout};
  readonly #window: Window;
  readonly #list: ExtentList;
  /** Stripes that have, or had, something: where there are zeros now these must be written. */
  readonly #written = new Bits();
  #end = 0;

  constructor(
    client: OpenedClient,
    source: {oid: number; layout: Layout},
    layout: Layout,
    step = STEP_BYTES,
  ) {
    const {cache, path} = client.parts;
    this.#source = source;
    this.layout = layout;
    this.held = new Held(source.oid, cache, () => {});
    this.held.layout = layout;
    this.held.mode = LEASE.write;
    this.stripe = stripeBytes(layout);
    this.step = Math.max(this.stripe, step - (step % this.stripe));
    this.#window = new Window(2 * this.step);
    this.#list = new ExtentList(new SlotLedger(path.pool));
  }

  /**
   * Copies [from, to), both at a stripe of the copy. `shared`: others may be writing it. Resolves with how many bytes that were; null: they cannot be read, and
   * nothing was written. Rejects if they cannot be written.
   */
  async put(
    path: BytePath,
    [from, to]: readonly [number, number],
    how: {shared: boolean; revoked(): boolean},
  ): Promise<number | null> {
    let bytes: number;
    try {
      bytes = await this.#load(path, from, to, how.shared);
    } catch (error) {
      if (how.shared && error instanceof FsError) return null;
      throw error;
    }
    try {
      if (this.#list.count > 0)
        await writeStripes(path, this.#window, this.#target(how.revoked), this.#list, (a, b) =>
          this.#list.remove(a, b),
        );
    } finally {
      this.#list.clear();
    }
    return bytes;
  }

  /** Nothing that was copied lies behind `size` afterwards; that of the object is all zeros there. */
  async cut(path: BytePath, size: number, revoked: () => boolean): Promise<void> {
    if (size >= this.#end) return;
    const stripe = Math.floor(size / this.stripe);
    const from = stripe * this.stripe;
    const whole = {shared: false, revoked};
    if (from < size && this.#written.has(stripe))
      await this.put(path, [from, from + this.stripe], whole);
    await cutColumns(path, this.#target(revoked), alignUp(this.#end, this.stripe), size);
    this.#written.cut(Math.ceil(size / this.stripe));
    this.#end = size;
  }

  /** All of it goes, wherever servers answer; who is away removes it when it comes back. */
  async remove({columns, log}: BytePath): Promise<void> {
    const {map} = columns;
    const {oid} = this.#source;
    const parts = [{oid, generation: this.layout.generation, from: 0, to: CHUNKS_END}];
    const calls = [...new Set(this.layout.groups)].flatMap((group) =>
      liveSlots(map, group).map((slot) =>
        columns.call(group, slot, OPS.remove, {epoch: map.epoch, parts}),
      ),
    );
    for (const result of await Promise.allSettled(calls))
      if (result.status === 'rejected')
        log.info('move.unremoved', {oid, reason: messageOf(result.reason)});
  }

  /** Nothing was copied to a byte behind this one, or it was cut. */
  get end(): number {
    return this.#end;
  }

  #target(revoked: () => boolean): WriteTarget {
    return {...writeTarget(this.held, this.layout), revoked, flushedSize: 0};
  }

  /** Reads [from, to) into the list, but for holes. Resolves with how many bytes that is. */
  async #load(path: BytePath, from: number, to: number, shared: boolean): Promise<number> {
    const {pool, slots} = path;
    const segments = await readStripes(path, {...this.#source, heal: null, shared}, from, to);
    const list = this.#list;
    let bytes = 0;
    let offset = from;
    for (const {slot, offset: memory, length} of segments) {
      for (let done = 0; done < length; done += HOLE_BYTES) {
        const some = Math.min(HOLE_BYTES, length - done);
        const view = pool.view(memory + done, some);
        const zeros = Buffer.compare(view, ZEROS.subarray(0, some)) === 0;
        if (!this.#lies(offset + done, some, zeros)) continue;
        list.add({offset: offset + done, length: some, slot, memory: memory + done});
        if (!zeros) bytes += some;
      }
      offset += length;
    }
    slots.releaseAll(segments);
    return bytes;
  }

  /** Are these bytes to be written? */
  #lies(offset: number, length: number, zeros: boolean): boolean {
    const first = Math.floor(offset / this.stripe);
    const last = Math.floor((offset + length - 1) / this.stripe);
    let lies = !zeros;
    for (let stripe = first; stripe <= last; stripe++) {
      lies ||= this.#written.has(stripe);
      if (!zeros) this.#written.add(stripe);
    }
    if (lies) this.#end = Math.max(this.#end, offset + length);
    return lies;
  }
}
