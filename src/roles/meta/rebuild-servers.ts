import {crc32c} from '../../core/base/crc32c.js';
import {FsError, Lost, messageOf, Refusal} from '../../core/base/errors.js';
import {BufferPool, poolBytes} from '../../core/base/pool.js';
import {ZERO_BLOCK_CRC} from '../../core/data/format.js';
import {silentLog} from '../../core/env/log.js';
import {systemClock} from '../../core/os/clock.js';
import {TcpNet} from '../../core/os/net-tcp.js';
import {type BacktraceEntry, entriesOf, lineOfMark} from '../../core/protocol/backtraces.js';
import type {BacktraceMark, DataInfoReply} from '../../core/protocol/gen/wire.js';
import {OPS} from '../../core/protocol/ops.js';
import {Peer} from '../../core/transport/peer.js';
import {OWN_RELEASE} from '../release.js';
import {nodeSecurity} from '../security.js';

const DEADLINE_MS = 60_000;
const LIST_MAX = 4096;
/** Beyond the end of every column: only what is known of it is asked for. */
const BEYOND = 1024 * 1024 * 1024 - 4096;

export interface ColumnFound {
  oid: number;
  chunk: number;
  generation: number;
}

export interface ColumnShown {
  column: number;
  k: number;
  m: number;
  unitBytes: number;
  bytes: number;
}

/** A data server as an administrator sees it on its own port, with or without its meta server. */
export class AskedServer {
  readonly address: string;
  readonly info: DataInfoReply;
  readonly marks: ReadonlyMap<number, BacktraceMark>;
  readonly #peer: Peer;
  readonly #pool: BufferPool;

  private constructor(
    address: string,
    peer: Peer,
    pool: BufferPool,
    info: DataInfoReply,
    marks: readonly BacktraceMark[],
  ) {
    this.address = address;
    this.info = info;
    this.marks = new Map(marks.map((mark) => [mark.shard, {...mark, line: lineOfMark(mark.line)}]));
    this.#peer = peer;
    this.#pool = pool;
  }

  /** A reason instead of a server that does not answer, or is none. */
  static async dial(address: string, timeoutMs: number): Promise<AskedServer | string> {
    const shape = {small: 16, medium: 0, large: 0};
    const pool = new BufferPool(new ArrayBuffer(poolBytes(shape)), shape);
    let peer: Peer | null = null;
    try {
      const connection = await new TcpNet(pool, silentLog, null, nodeSecurity()).connect(
        address,
        timeoutMs,
      );
      peer = new Peer({clock: systemClock, pool, log: silentLog, release: OWN_RELEASE}, connection);
      const deadlineMs = timeoutMs;
      const name = `admin:${process.pid}`;
      await peer.hello({role: 'admin', name}, {deadlineMs});
      const info = (await peer.call(OPS.info, {}, {deadlineMs})).message;
      const {marks} = (await peer.call(OPS.backtraceMarks, {}, {deadlineMs})).message;
      return new AskedServer(address, peer, pool, info, marks);
    } catch (error) {
      peer?.close('no use');
      if (error instanceof Lost || error instanceof Refusal || error instanceof FsError)
        return messageOf(error);
      throw error;
    }
  }

  /** Pages of a shard. Rejects with FsError or Lost. */
  async *shard(shard: number): AsyncGenerator<BacktraceEntry[]> {
    for (let cursor: Uint8Array = new Uint8Array(0), end = false; !end; ) {
      const options = {deadlineMs: DEADLINE_MS};
      const {message} = await this.#peer.call(OPS.backtraceRead, {shard, cursor}, options);
      const entries: BacktraceEntry[] = [];
      for (const entry of entriesOf(message.records)) {
        if (entry === null) throw new FsError('EIO', `${this.address} sent half an entry`);
        entries.push(entry);
      }
      yield entries;
      cursor = message.cursor;
      end = message.end;
    }
  }

  async *columns(): AsyncGenerator<ColumnFound[]> {
    for (let cursor = '', end = false; !end; ) {
      const q = {kind: 'columns', cursor, max: LIST_MAX};
      const {message} = await this.#peer.call(OPS.list, q, {deadlineMs: DEADLINE_MS});
      yield message.chunks;
      cursor = message.cursor;
      end = message.end;
    }
  }

  /** Null: it is not there, or cannot be read. */
  async column(chunk: ColumnFound): Promise<ColumnShown | null> {
    try {
      const q = {chunk, offset: BEYOND, length: 4096};
      const {message} = await this.#peer.call(OPS.exportColumn, q, {deadlineMs: DEADLINE_MS});
      return message.present ? message : null;
    } catch (error) {
      if (error instanceof FsError) return null;
      throw error;
    }
  }

  /** A block of a column, 4 KiB from `offset` on, which is a multiple of that. Null: it is zeros, or cannot be read, or fails its sum. */
  async block(chunk: ColumnFound, offset: number): Promise<Uint8Array | null> {
    try {
      const q = {chunk, offset, length: 4096};
      const reply = await this.#peer.call(OPS.exportColumn, q, {deadlineMs: DEADLINE_MS});
      const {message, payload} = reply;
      if (payload === null) return null;
      const bytes = Uint8Array.from(this.#pool.view(payload.offset, payload.length));
      this.#pool.release(payload.slot);
      const sum = message.sums.length < 4 ? -1 : Buffer.from(message.sums).readUInt32LE(0);
      return (crc32c(bytes) ^ ZERO_BLOCK_CRC) >>> 0 === sum ? bytes : null;
    } catch (error) {
      if (error instanceof FsError) return null;
      throw error;
    }
  }

  close(): void {
    this.#peer.close('done');
  }
}
