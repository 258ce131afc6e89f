import {FsError} from '../../src/core/base/errors.js';
import {BLOCK_BYTES} from '../../src/core/base/units.js';
import type {ReadRequest, TruncateRequest, WriteRequest} from '../../src/core/protocol/gen/wire.js';

const BYTES_MAX = 4 * 1024 * 1024;

/** One column: what a data server keeps of it. */
export class FakeColumn {
  data: Buffer = Buffer.alloc(BLOCK_BYTES);
  sums: Buffer = Buffer.alloc(4);
  covered: Buffer;
  bytes = 0;

  constructor(readonly k: number) {
    this.covered = Buffer.alloc(4 * k);
  }

  #grow(bytes: number): void {
    if (bytes > BYTES_MAX) throw new FsError('EFBIG', 'a column of a test');
    if (bytes <= this.data.length) return;
    const wanted = Math.min(BYTES_MAX, Math.max(bytes, this.data.length * 2));
    const grown = (old: Buffer, length: number): Buffer => {
      const made = Buffer.alloc(length);
      old.copy(made);
      return made;
    };
    this.data = grown(this.data, wanted);
    this.sums = grown(this.sums, (wanted / BLOCK_BYTES) * 4);
    this.covered = grown(this.covered, (wanted / BLOCK_BYTES) * 4 * this.k);
  }

  write(q: WriteRequest, bytes: Buffer): void {
    const {k} = q.ref;
    let at = 0;
    for (const range of q.ranges) {
      if (range.offset % BLOCK_BYTES !== 0 || range.length % BLOCK_BYTES !== 0)
        throw new FsError('EINVAL', 'unaligned');
      this.#grow(range.offset + range.length);
      bytes.copy(this.data, range.offset, at, at + range.length);
      const block = range.offset / BLOCK_BYTES;
      const blocks = range.length / BLOCK_BYTES;
      const first = at / BLOCK_BYTES;
      this.sums.set(q.sums.subarray(first * 4, (first + blocks) * 4), block * 4);
      if (q.ref.column >= k) {
        const covered = q.covered.subarray(first * 4 * k, (first + blocks) * 4 * k);
        this.covered.set(covered, block * 4 * k);
      }
      at += range.length;
      this.bytes = Math.max(this.bytes, range.offset + range.length);
    }
    if (at !== bytes.length) throw new FsError('EINVAL', 'payload and ranges differ');
    if (q.sums.length !== (at / BLOCK_BYTES) * 4) throw new FsError('EINVAL', 'sums');
    const wanted = q.ref.column >= k ? (at / BLOCK_BYTES) * 4 * k : 0;
    if (q.covered.length !== wanted) throw new FsError('EINVAL', 'covered');
  }

  /** `bytes` null: a hole. */
  read(q: ReadRequest): {sums: Uint8Array; covered: Uint8Array; bytes: Buffer | null} {
    const {offset, length} = q.ranges[0]!;
    const {k} = q.ref;
    const none = Buffer.alloc(0);
    if (offset >= this.bytes) return {sums: none, covered: none, bytes: null};
    this.#grow(offset + length);
    const from = offset / BLOCK_BYTES;
    const to = (offset + length) / BLOCK_BYTES;
    const wanted = q.covered && q.ref.column >= k;
    return {
      sums: Buffer.from(this.sums.subarray(from * 4, to * 4)),
      covered: wanted ? Buffer.from(this.covered.subarray(from * 4 * k, to * 4 * k)) : none,
      bytes: this.data.subarray(offset, offset + length),
    };
  }

  truncate(q: TruncateRequest): void {
    this.data.fill(0, q.bytes);
    this.sums.fill(0, (q.bytes / BLOCK_BYTES) * 4);
    this.covered.fill(0, (q.bytes / BLOCK_BYTES) * 4 * q.ref.k);
    this.bytes = Math.min(this.bytes, q.bytes);
  }
}
