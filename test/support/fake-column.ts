import {FsError} from '../../src/core/base/errors.js';
import {BLOCK_BYTES} from '../../src/core/base/units.js';
import type {
  DeltaRequest,
  ReadRequest,
  TruncateRequest,
  WriteRequest,
} from '../../src/core/protocol/gen/wire.js';

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
    const {k} = q.ref;
    const none = Buffer.alloc(0);
    if (q.ranges.every(({offset}) => offset >= this.bytes))
      return {sums: none, covered: none, bytes: null};
    const wanted = q.covered && q.ref.column >= k;
    const parts = q.ranges.map(({offset, length}) => {
      this.#grow(offset + length);
      const from = offset / BLOCK_BYTES;
      const to = (offset + length) / BLOCK_BYTES;
      return {
        sums: this.sums.subarray(from * 4, to * 4),
        covered: wanted ? this.covered.subarray(from * 4 * k, to * 4 * k) : none,
        bytes: this.data.subarray(offset, offset + length),
      };
    });
    return {
      sums: Buffer.concat(parts.map(({sums}) => sums)),
      covered: Buffer.concat(parts.map(({covered}) => covered)),
      bytes: Buffer.concat(parts.map(({bytes}) => bytes)),
    };
  }

  /** The numbers of the blocks that cover something else. */
  delta(q: DeltaRequest, bytes: Buffer): number[] {
    const {k} = q.ref;
    const refused: number[] = [];
    let block = 0;
    let sum = 0;
    for (const {offset, length} of q.ranges) {
      this.#grow(offset + length);
      this.bytes = Math.max(this.bytes, offset + length);
      for (let at = offset; at < offset + length; at += BLOCK_BYTES, block++) {
        const mask = Buffer.from(q.changed).readUInt32LE(block * 4);
        const places: {at: number; sum: number}[] = [];
        for (let column = 0; column < k; column++)
          if (((mask >>> column) & 1) === 1)
            places.push({at: ((at / BLOCK_BYTES) * k + column) * 4, sum: 4 * sum++});
        const covers = (sums: Uint8Array): boolean =>
          places.every(
            (one) =>
              Buffer.compare(
                this.covered.subarray(one.at, one.at + 4),
                sums.subarray(one.sum, one.sum + 4),
              ) === 0,
          );
        if (covers(q.before)) {
          for (let i = 0; i < BLOCK_BYTES; i++)
            this.data[at + i]! ^= bytes[block * BLOCK_BYTES + i]!;
          for (let i = 0; i < 4; i++)
            this.sums[(at / BLOCK_BYTES) * 4 + i]! ^= q.sums[block * 4 + i]!;
          for (const one of places)
            this.covered.set(q.after.subarray(one.sum, one.sum + 4), one.at);
        } else if (!covers(q.after)) refused.push(block);
      }
    }
    return refused;
  }

  truncate(q: TruncateRequest): void {
    this.data.fill(0, q.bytes);
    this.sums.fill(0, (q.bytes / BLOCK_BYTES) * 4);
    this.covered.fill(0, (q.bytes / BLOCK_BYTES) * 4 * q.ref.k);
    this.bytes = Math.min(this.bytes, q.bytes);
  }
}
