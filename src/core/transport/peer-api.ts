import type {Release} from '../base/features.js';
import type {Segment} from '../base/pool.js';
import type {AnyOp, Op} from '../protocol/ops.js';

export interface CallOptions {
  /** Payload of the request; one reference of each slot is given away. */
  payload?: readonly Segment[];
  /** Lost is thrown when no reply has come by then; the default is in transport/peer.ts. */
  deadlineMs?: number;
  /**
   * For `mutates` ops: the same number is used when the request is sent again, so that it is not done twice.
   * 1 <= id < OWN_ID_MIN. Without it the connection takes one of its own, which means nothing on the next connection.
   */
  id?: number;
  /** Is sent even if there are too many calls already: heartbeats, and what others wait for. */
  urgent?: boolean;
}

/** Request ids from here on are numbers of a connection, not of a session: no reply is kept for them. */
export const OWN_ID_MIN = 0x8000_0000;

/** A reply. The receiver owns one reference of the payload's slot. */
export interface Reply<R> {
  message: R;
  payload: Segment | null;
}

/** What a handler answers; one reference of each payload slot is given away. Throwing FsError or Refusal answers that. */
export interface Answer<R> {
  message: Partial<R>;
  payload?: readonly Segment[] | null;
}

/**
 * Carries out one request. It owns one reference of `payload`'s slot. May answer at once or later; replies leave
 * in the order in which they are ready.
 */
export type Handler<Q, R, C> = (
  request: Q,
  context: C,
  payload: Segment | null,
  id: number,
) => Answer<R> | Promise<Answer<R>>;

/** One end of a connection, which calls and is called. Implemented by transport/peer.ts. */
export interface PeerLike {
  readonly peer: string;
  /** Resolves with the reply; rejects with FsError, Refusal, or Lost (connection gone, deadline). */
  call<Q, R>(op: Op<Q, R>, request: Partial<Q>, options?: CallOptions): Promise<Reply<R>>;
  /** One way. */
  push<Q, R>(op: Op<Q, R>, request: Partial<Q>): void;
  close(reason: string): void;
  readonly closed: boolean;
  /** Of the other side, after the hello. */
  readonly release: Release;
  /** May be sent: both releases have it. */
  knows(op: Pick<AnyOp, 'since'>): boolean;
}
