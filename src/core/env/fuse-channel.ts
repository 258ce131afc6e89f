/**
 * The kernel's end of a mount, as the door sees it: requests arrive in pool slots, replies are queued by number and
 * leave together. What a request means is the door's business.
 *
 * A slot belongs to the channel from `arm` until `request` names it, then to the door, which may release it as soon
 * as it has no more use for the bytes: a reply is addressed by ticket, so a long wait holds no slot.
 */

/** Names one request that waits for a reply. A small integer; not used again before it has been answered. */
export type Ticket = number;

/** Where in a slot the kernel's in_header starts; a WRITE's bytes then start at the slot's payload. */
export const REQUEST_OFFSET = 4096 - 80;

/** Flags of a request. */
export const REQUEST = {
  /** Read into the reserve: copy what is needed and give the slot back at once. */
  fromReserve: 1,
  /** Sent again after NOTIFY_RESEND: an earlier process may have carried it out already. */
  resent: 4,
} as const;

/** What the door does. Called from the channel's loop; nothing here may block or throw. */
export interface FuseHandler {
  /** A request lies at `slot` + REQUEST_OFFSET. INIT is one of them, and the first. */
  request(ticket: Ticket, slot: number, flags: number): void;
  /** The caller of this request wants it to end: answer it EINTR if it can be given up. May be answered already. */
  interrupt(ticket: Ticket): void;
  /** The kernel gave back `count` of the references that entries in replies had given it. Comes after all requests of its batch. */
  forget(nodeid: number, count: number): void;
  /** All of a wake has been handed over; replies given until now leave together. A good time to arm slots. */
  batchEnd(): void;
  /**
   * A reply could not be delivered: 2 (ENOENT) or 19 (ENODEV) when nobody waits for it any more; 9 (EBADF), 14
   * (EFAULT) or 22 (EINVAL) for a mistake of the door, whose caller got EIO. If it gave an entry, the kernel has not
   * counted it.
   */
  replyFailed(ticket: Ticket, errno: number): void;
  /** A notification was carried out. 2 (ENOENT): the kernel did not have it cached, which is as good. */
  notified(id: number, errno: number): void;
  /** Nothing comes any more: 0 when unmounted (or aborted), else why. The door closes the channel. */
  ended(errno: number): void;
}

export interface FuseChannel {
  /** Where small replies are built: words and bytes over the same memory. Take room with `head`. */
  readonly heads: {readonly u32: Uint32Array; readonly u8: Uint8Array};

  /** Starts to hand requests over. Once. */
  start(handler: FuseHandler): void;
  /** Lends a large slot (its control page's offset in the pool's memory). With `reserve` it is used when no other is left. */
  arm(slot: number, reserve: boolean): void;
  /** Slots lent and not used yet: [ordinary, reserve]. */
  readonly armed: readonly [number, number];

  /** Room for a small reply of at most 4096 bytes, as an offset into `heads.u8`, 8-byte aligned; valid until the next flush. */
  head(bytes: number): number;
  /** Answers with an errno and no bytes; 0 is success. Like all replies it leaves at the end of the batch or of the tick. */
  replyError(ticket: Ticket, errno: number): void;
  /** Answers with bytes that were built at `head`. */
  replyHead(ticket: Ticket, head: number, bytes: number): void;
  /**
   * Answers with bytes of the pool's memory, `count` pairs of (offset, length) from `pairs`; nothing before them.
   * They must stay as they are until `flush`.
   */
  replyData(ticket: Ticket, pairs: ArrayLike<number>, count: number): void;
  /** Sends what is queued now; afterwards the memory that the replies named is free. */
  flush(): void;

  /**
   * Queues a notification for the thread that sends them; `body` is what follows fuse_out_header and is copied.
   * Returns its id, or 0 when the queue is full: try again after `notified`.
   */
  notify(code: number, body: Uint8Array): number;

  /** Does no request wait to be taken? */
  readonly empty: boolean;
  /** Of the notifications, which leave in order, the last one that has begun to. The kernel may hold it up. */
  readonly noticeBegun: number;

  /** Counters since the start, by name; `ops` counts requests by opcode. */
  stats(): FuseStats;
  /** Closes the device: what is mounted answers ENOTCONN from then on. Twice is nothing. */
  close(): void;
}

export interface FuseStats {
  wakes: number;
  reads: number;
  emptyReads: number;
  replies: number;
  failedReplies: number;
  goneReplies: number;
  lastFailedErrno: number;
  lastFailedOpcode: number;
  forgets: number;
  interrupts: number;
  droppedInterrupts: number;
  starved: number;
  reserveUsed: number;
  notices: number;
  failedNotices: number;
  pending: number;
  /** How often it looked for a request instead of sleeping, and how often one came. */
  lingers: number;
  lingerHits: number;
  ops: Record<number, number>;
}
