import type {Identity} from '../base/identity.js';
import type {Segment} from '../base/pool.js';
import type {LogFields} from './log.js';

/**
 * One message on the wire (core/protocol/frame.ts gives the bytes). `message` is protobuf; `payload` never
 * passes through protobuf: it lies in pool slots, or is absent.
 *
 * Ownership: the receiver of a frame owns one reference of `payload.slot` and must release it. The sender gives
 * away one reference of every segment's slot with `send`; it is released when the bytes have left, or the
 * connection has closed.
 */
export interface Frame {
  type: number;
  flags: number;
  /** Chosen by the requester; the reply carries the same. */
  id: number;
  /** 0, an errno, or a refusal number (base/errors.ts); meaningful in replies only. */
  status: number;
  message: Uint8Array;
  payload: Segment | null;
}

/**
 * Called by the connection. Set once, at best in the turn in which the connection was made: frames wait for it.
 * `close` by this side calls `closed` before it returns.
 */
export interface ConnectionHandler {
  frame(frame: Frame): void;
  /** Once, last; `reason` is for the log. No frame comes after it. */
  closed(reason: string): void;
  /** `queuedBytes` has fallen below half of the limit after `send` had taken it above. */
  drained(): void;
}

/** A stream of frames in order, both ways. After `close` or a failure nothing more is delivered. */
export interface Connection {
  /** Who is at the other end, for the log: `127.0.0.1:7400`. */
  readonly peer: string;
  /** Who has proved to be there; null or absent: nothing needs to be proved here. */
  readonly identity?: Identity | null;
  handle(handler: ConnectionHandler): void;
  /** Queues the frame; never throws and never blocks. On a closed connection the payload is released and nothing else happens. */
  send(
    type: number,
    flags: number,
    id: number,
    status: number,
    message: Uint8Array,
    payload: readonly Segment[] | null,
  ): void;
  /** Bytes that were given to `send` and have not left. Callers hold back above `queueLimit`. */
  readonly queuedBytes: number;
  readonly queueLimit: number;
  /** Stops the flow from the peer (its sends queue up at its side) until `resume`. */
  pause(): void;
  resume(): void;
  close(reason: string): void;
}

export interface Listener {
  /** host:port that clients dial. */
  readonly address: string;
  close(): Promise<void>;
}

/** Finds the servers that names stand for. */
export interface Resolver {
  /**
   * host:port of all that `names` (base/meta-names.ts) stands for now, the likeliest first; at least one. Null: it says that itself. Rejects with Lost: nobody
   * knows now.
   */
  resolve(names: string): Promise<string[]> | null;
}

/** Frames between processes: TCP (core/os/net-tcp.ts) or the simulator's network (core/sim/network.ts). */
export interface Net extends Resolver {
  /** Resolves when connected; rejects with Lost on refusal, or after `timeoutMs`. */
  connect(address: string, timeoutMs: number): Promise<Connection>;
  /** `address` is host:port; port 0 picks a free one. Rejects with FsError(EADDRINUSE as EBUSY) when taken. */
  listen(address: string, accept: (connection: Connection) => void): Promise<Listener>;
  /** Why who has proved to be that one would not be let in now; null, or absent: he would. Connections of such end by themselves. */
  refusal?(identity: Identity): string | null;
  /** Hears of those who were not let in, as the log does. */
  onRefused?: (event: string, fields: LogFields) => void;
}
