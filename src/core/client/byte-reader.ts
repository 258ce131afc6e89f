import type {Segment} from '../base/pool.js';
import type {BytePath} from './columns.js';
import type {Held} from './held.js';
import type {ReadAhead} from './read-ahead.js';
import {copiesOf} from './read-copies.js';
import {readStripes} from './stripe-reader.js';
import {heal} from './target.js';

/** The newest bytes of an object whose lease is held: dirty ones over inline ones over what the columns hold. */
export class ByteReader {
  readonly #path: BytePath;
  readonly #ahead: ReadAhead;

  constructor(path: BytePath, ahead: ReadAhead) {
    this.#path = path;
    this.#ahead = ahead;
  }

  /**
   * `inside`: its caller runs inside `held.exclusive`; `direct`: nobody else keeps what is read. Null: what was found may have some of a
   * write that came meanwhile, and not the rest of it; not inside, where nothing reaches columns meanwhile.
   */
  async gather(
    held: Held,
    from: number,
    to: number,
    {inside, direct}: {inside: boolean; direct: boolean},
  ): Promise<Segment[] | null> {
    const path = this.#path;
    const parts: (Segment[] | Promise<Segment[]>)[] = [];
    const layout = held.layout!;
    const {tenure, written} = held;
    const target = {
      oid: held.oid,
      layout,
      heal:
        inside || held.split
          ? null
          : (mended: Parameters<typeof heal>[2]) => heal(path, held, mended, {tenure, written}),
      shared: held.split,
      copies: copiesOf(held),
      alike: held.alike,
      ...(inside ? {} : {wanted: () => held.gate !== null}),
    };
    const look = held.dirty.look(from, to);
    held.dirty.read(from, to, (offset, length, memory, slot) => {
      if (memory !== -1) {
        path.pool.retain(slot);
        parts.push([{slot, offset: memory, length}]);
        return;
      }
      const end = offset + length;
      const inlineEnd = Math.min(end, held.inlineBytes);
      if (inlineEnd > offset) {
        parts.push(this.#copied(held.inline!.subarray(offset, inlineEnd)));
        offset = inlineEnd;
      }
      // What was never written is zeros: nothing is asked for it.
      const old = Math.max(offset, Math.min(end, held.flushedSize));
      if (old > offset) {
        const columns = inside
          ? readStripes(path, target, offset, old)
          : this.#ahead.read(held, target, [offset, old], direct);
        parts.push(columns);
      }
      if (end > old) parts.push(this.#zeros(end - old));
    });
    const results = await Promise.allSettled(parts);
    held.dirty.looked(look);
    const failed = results.find((result) => result.status === 'rejected');
    const segments: Segment[] = [];
    for (const result of results) if (result.status === 'fulfilled') segments.push(...result.value);
    if (failed === undefined && !look.overtaken) return segments;
    path.slots.releaseAll(segments);
    if (failed !== undefined) throw failed.reason;
    return null;
  }

  async #copied(bytes: Uint8Array): Promise<Segment[]> {
    const {pool, slots} = this.#path;
    const slot = await slots.alloc(bytes.length);
    const offset = pool.payload(slot);
    pool.view(offset, bytes.length).set(bytes);
    return [{slot, offset, length: bytes.length}];
  }

  async #zeros(length: number): Promise<Segment[]> {
    const {pool, slots} = this.#path;
    const slot = await slots.zeros();
    const segments: Segment[] = [];
    for (let done = 0; done < length; ) {
      const bytes = Math.min(length - done, pool.capacity(slot));
      pool.retain(slot);
      segments.push({slot, offset: pool.payload(slot), length: bytes});
      done += bytes;
    }
    return segments;
  }
}
