import {Lost, Refusal} from '../../src/core/base/errors.js';
import type {BufferPool} from '../../src/core/base/pool.js';
import {BLOCK_BYTES} from '../../src/core/base/units.js';
import {storedSums} from '../../src/core/client/blocks.js';
import type {Columns} from '../../src/core/client/columns.js';
import {Lives} from '../../src/core/client/lives.js';
import {type ClusterMap, SLOT, type SlotState} from '../../src/core/cluster/map.js';
import type {Codec} from '../../src/core/env/codec.js';
import type {Layout} from '../../src/core/layout/scheme.js';
import {columnSlot} from '../../src/core/layout/stripe.js';
import type {
  ColumnRef,
  DeltaRequest,
  ReadRequest,
  TruncateRequest,
  WriteRequest,
} from '../../src/core/protocol/gen/wire.js';
import {OPS, type Op} from '../../src/core/protocol/ops.js';
import type {CallOptions, Reply} from '../../src/core/transport/peer-api.js';
import {FakeColumn} from './fake-column.js';

/** Data servers of one group in a few lines: columns in memory, epochs, and faults on demand. */
export class FakeColumns implements Columns {
  readonly #pool: BufferPool;
  readonly #codec: Codec;
  readonly columns = new Map<string, FakeColumn>();
  readonly lives = new Lives();
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
      io: '',
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
      if (op.code === OPS.delta.code) {
        const q = request as unknown as DeltaRequest;
        const bytes = Buffer.concat(payload.map((one) => this.#pool.view(one.offset, one.length)));
        this.writes++;
        const refused = this.column(slot, q.ref).delta(q, bytes);
        return {message: {refused} as R, payload: null};
      }
    } finally {
      for (const segment of payload) this.#pool.release(segment.slot);
    }
    if (op.code === OPS.read.code)
      return this.#read(slot, request as unknown as ReadRequest) as Reply<R>;
    if (op.code === OPS.badBlock.code) this.badReported++;
    else if (op.code === OPS.truncate.code) {
      const truncation = request as unknown as TruncateRequest;
      this.column(slot, truncation.ref).truncate(truncation);
    }
    return {message: {} as R, payload: null};
  }

  #write(slot: number, q: WriteRequest, payload: NonNullable<CallOptions['payload']>): void {
    this.writes++;
    const bytes = Buffer.concat(payload.map((s) => this.#pool.view(s.offset, s.length)));
    this.column(slot, q.ref).write(q, bytes);
  }

  #read(slot: number, q: ReadRequest): Reply<unknown> {
    this.reads++;
    const {sums, covered, bytes} = this.column(slot, q.ref).read(q);
    if (bytes === null) return {message: {sums, covered, hole: true}, payload: null};
    const memory = this.#pool.alloc(bytes.length);
    if (memory === -1) throw new Lost('no slot');
    const at = this.#pool.payload(memory);
    bytes.copy(this.#pool.bytes, at);
    return {
      message: {sums, covered, hole: false},
      payload: {slot: memory, offset: at, length: bytes.length},
    };
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
        for (let c = 0; c < k; c++) blockOf(columns[c]!, row).copy(bytes, c * BLOCK_BYTES);
        const at = [...Array(k + m).keys()].map((c) => c * BLOCK_BYTES);
        if (m > 0) this.#codec.encode(memory, k, m, at.slice(0, k), at.slice(k), BLOCK_BYTES);
        const sums = Buffer.from(storedSums(this.#codec, memory, 0, memory.byteLength));
        for (let c = 0; c < k + m; c++) {
          if (this.states[slots[c]!] === SLOT.away) continue;
          const where = `chunk ${chunk} column ${c} row ${row}`;
          const stored = part(columns[c]!.sums, row * 4, 4);
          const block = blockOf(columns[c]!, row);
          if (!block.equals(bytes.subarray(c * BLOCK_BYTES, (c + 1) * BLOCK_BYTES)))
            throw new Error(`${where}: redundancy is not that of the data`);
          if (!stored.equals(sums.subarray(c * 4, c * 4 + 4))) throw new Error(`${where}: sum`);
          if (c < k) continue;
          const covered = part(columns[c]!.covered, row * 4 * k, 4 * k);
          if (!covered.equals(sums.subarray(0, 4 * k))) throw new Error(`${where}: covered sums`);
        }
      }
    }
  }
}

/** `length` bytes, zeros beyond the end. */
function part(bytes: Buffer, from: number, length: number): Buffer {
  const all = Buffer.alloc(length);
  if (from < bytes.length) bytes.copy(all, 0, from, from + length);
  return all;
}

const blockOf = (column: FakeColumn, row: number): Buffer =>
  part(column.data, row * BLOCK_BYTES, BLOCK_BYTES);
