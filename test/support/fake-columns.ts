import {FsError, Lost, Refusal} from '../../src/core/base/errors.js';
import type {BufferPool} from '../../src/core/base/pool.js';
import {BLOCK_BYTES} from '../../src/core/base/units.js';
import {storedSums} from '../../src/core/client/blocks.js';
import type {Columns} from '../../src/core/client/columns.js';
import {type ClusterMap, SLOT, type SlotState} from '../../src/core/cluster/map.js';
import type {Codec} from '../../src/core/env/codec.js';
import type {Layout} from '../../src/core/layout/scheme.js';
import {columnSlot} from '../../src/core/layout/stripe.js';
import type {
  ColumnRef,
  ReadRequest,
  TruncateRequest,
  WriteRequest,
} from '../../src/core/protocol/gen/wire.js';
import {OPS, type Op} from '../../src/core/protocol/ops.js';
import type {CallOptions, Reply} from '../../src/core/transport/peer-api.js';

const BYTES_MAX = 4 * 1024 * 1024;

/** One column: what a data server keeps of it. */
export class FakeColumn {
  readonly data = Buffer.alloc(BYTES_MAX);
  readonly sums = Buffer.alloc((BYTES_MAX / BLOCK_BYTES) * 4);
  readonly covered: Buffer;
  bytes = 0;

  constructor(readonly k: number) {
    this.covered = Buffer.alloc((BYTES_MAX / BLOCK_BYTES) * 4 * k);
  }
}

/** Data servers of one group in a few lines: columns in memory, epochs, and faults on demand. */
export class FakeColumns implements Columns {
  readonly #pool: BufferPool;
  readonly #codec: Codec;
  readonly columns = new Map<string, FakeColumn>();
  readonly states: SlotState[];
  epoch = 1;
  reported = 0;
  badReported = 0;
  reads = 0;
  writes = 0;
  /** Slots whose calls are Lost though the map says ready. */
  readonly silent = new Set<number>();
  /** Called before each op; may throw. */
  before: (slot: number, op: string) => void = () => {};

  constructor(pool: BufferPool, codec: Codec, slots: number) {
    this.#pool = pool;
    this.#codec = codec;
    this.states = new Array<SlotState>(slots).fill(SLOT.ready);
  }

  get map(): ClusterMap {
    const server = {
      uuid: '',
      address: '',
      totalBytes: 0,
      freeBytes: 0,
      badBlocks: 0,
      connected: true,
    };
    const slots = this.states.map((state) => ({state, server, stale: true}));
    return {cluster: 'c', epoch: this.epoch, groups: [{id: 1, state: 1, slots}], fenced: []};
  }

  set(slot: number, state: SlotState): void {
    this.states[slot] = state;
    this.epoch++;
  }

  report(_group: number, slot: number): void {
    this.reported++;
    if (this.silent.has(slot) && this.states[slot] === SLOT.ready) this.set(slot, SLOT.away);
  }

  async newer(): Promise<void> {
    await Promise.resolve();
  }

  column(slot: number, ref: {oid: number; chunk: number; k: number}): FakeColumn {
    const key = `${slot}:${ref.oid}.${ref.chunk}`;
    let column = this.columns.get(key);
    if (column === undefined) {
      column = new FakeColumn(ref.k);
      this.columns.set(key, column);
    }
    return column;
  }

  async call<Q, R>(
    _group: number,
    slot: number,
    op: Op<Q, R>,
    request: Partial<Q>,
    options: CallOptions = {},
  ): Promise<Reply<R>> {
    await Promise.resolve();
    const payload = options.payload ?? [];
    try {
      this.before(slot, op.name);
      if (this.silent.has(slot) || this.states[slot] === SLOT.away) throw new Lost('silent');
      const {ref} = request as unknown as {ref?: ColumnRef};
      if (ref !== undefined && ref.epoch !== this.epoch) throw new Refusal('StaleEpoch');
      if (op.code === OPS.write.code) {
        this.#write(slot, request as unknown as WriteRequest, payload);
        return {message: {} as R, payload: null};
      }
    } finally {
      for (const segment of payload) this.#pool.release(segment.slot);
    }
    if (op.code === OPS.read.code)
      return this.#read(slot, request as unknown as ReadRequest) as Reply<R>;
    if (op.code === OPS.badBlock.code) this.badReported++;
    else if (op.code === OPS.truncate.code)
      this.#truncate(slot, request as unknown as TruncateRequest);
    return {message: {} as R, payload: null};
  }

  #write(slot: number, q: WriteRequest, payload: NonNullable<CallOptions['payload']>): void {
    this.writes++;
    const column = this.column(slot, q.ref);
    const bytes = Buffer.concat(payload.map((s) => this.#pool.view(s.offset, s.length)));
    let at = 0;
    for (const range of q.ranges) {
      if (range.offset % BLOCK_BYTES !== 0 || range.length % BLOCK_BYTES !== 0)
        throw new FsError('EINVAL', 'unaligned');
      bytes.copy(column.data, range.offset, at, at + range.length);
      const block = range.offset / BLOCK_BYTES;
      const blocks = range.length / BLOCK_BYTES;
      const first = at / BLOCK_BYTES;
      const {k} = q.ref;
      column.sums.set(q.sums.subarray(first * 4, (first + blocks) * 4), block * 4);
      if (q.ref.column >= k)
        column.covered.set(
          q.covered.subarray(first * 4 * k, (first + blocks) * 4 * k),
          block * 4 * k,
        );
      at += range.length;
      column.bytes = Math.max(column.bytes, range.offset + range.length);
    }
    if (at !== bytes.length) throw new FsError('EINVAL', 'payload and ranges differ');
    if (q.sums.length !== (at / BLOCK_BYTES) * 4) throw new FsError('EINVAL', 'sums');
    const wanted = q.ref.column >= q.ref.k ? (at / BLOCK_BYTES) * 4 * q.ref.k : 0;
    if (q.covered.length !== wanted) throw new FsError('EINVAL', 'covered');
  }

  #read(slot: number, q: ReadRequest): Reply<unknown> {
    this.reads++;
    const column = this.column(slot, q.ref);
    const {offset, length} = q.ranges[0]!;
    const from = offset / BLOCK_BYTES;
    const to = (offset + length) / BLOCK_BYTES;
    const {k} = q.ref;
    const covered =
      q.covered && q.ref.column >= k
        ? column.covered.subarray(from * 4 * k, to * 4 * k)
        : Buffer.alloc(0);
    if (offset >= column.bytes)
      return {
        message: {sums: new Uint8Array(0), covered: new Uint8Array(0), hole: true},
        payload: null,
      };
    const memory = this.#pool.alloc(length);
    if (memory === -1) throw new Lost('no slot');
    const at = this.#pool.payload(memory);
    column.data.copy(this.#pool.bytes, at, offset, offset + length);
    return {
      message: {
        sums: Buffer.from(column.sums.subarray(from * 4, to * 4)),
        covered: Buffer.from(covered),
        hole: false,
      },
      payload: {slot: memory, offset: at, length},
    };
  }

  #truncate(slot: number, q: TruncateRequest): void {
    const column = this.column(slot, q.ref);
    column.data.fill(0, q.bytes);
    column.sums.fill(0, (q.bytes / BLOCK_BYTES) * 4);
    column.covered.fill(0, (q.bytes / BLOCK_BYTES) * 4 * q.ref.k);
    column.bytes = Math.min(column.bytes, q.bytes);
  }

  /**
   * Throws unless all sums are those of the bytes and all redundancy is that of the data. Redundancy that is away is
   * left out; a chunk with data away is, too: reading it proves more.
   */
  audit(layout: Layout, oid: number, chunks: number): void {
    const {k, m} = layout;
    const memory = new ArrayBuffer(BLOCK_BYTES * (k + m));
    const bytes = Buffer.from(memory);
    for (let chunk = 0; chunk < chunks; chunk++) {
      const slots = [...Array(k + m).keys()].map((c) =>
        columnSlot(oid, chunk, c, this.states.length),
      );
      const columns = slots.map((slot) => this.column(slot, {oid, chunk, k}));
      if (slots.slice(0, k).some((slot) => this.states[slot] === SLOT.away)) continue;
      const rows = Math.max(...columns.map((column) => column.bytes)) / BLOCK_BYTES;
      for (let row = 0; row < rows; row++) {
        for (let c = 0; c < k; c++)
          columns[c]!.data.copy(bytes, c * BLOCK_BYTES, row * BLOCK_BYTES, (row + 1) * BLOCK_BYTES);
        const at = [...Array(k + m).keys()].map((c) => c * BLOCK_BYTES);
        if (m > 0) this.#codec.encode(memory, k, m, at.slice(0, k), at.slice(k), BLOCK_BYTES);
        const sums = Buffer.from(storedSums(this.#codec, memory, 0, memory.byteLength));
        for (let c = 0; c < k + m; c++) {
          if (this.states[slots[c]!] === SLOT.away) continue;
          const where = `chunk ${chunk} column ${c} row ${row}`;
          const stored = columns[c]!.sums.subarray(row * 4, row * 4 + 4);
          const block = columns[c]!.data.subarray(row * BLOCK_BYTES, (row + 1) * BLOCK_BYTES);
          if (!block.equals(bytes.subarray(c * BLOCK_BYTES, (c + 1) * BLOCK_BYTES)))
            throw new Error(`${where}: redundancy is not that of the data`);
          if (!stored.equals(sums.subarray(c * 4, c * 4 + 4))) throw new Error(`${where}: sum`);
          if (c < k) continue;
          const covered = columns[c]!.covered.subarray(row * 4 * k, (row + 1) * 4 * k);
          if (!covered.equals(sums.subarray(0, 4 * k))) throw new Error(`${where}: covered sums`);
        }
      }
    }
  }
}
