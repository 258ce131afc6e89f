import {errorFromStatus, type FsError, Refusal} from '../base/errors.js';
import type {Op} from '../protocol/ops.js';
import * as keys from './keys.js';
import {decodeReply, encodeReply, type ReplyRecord} from './records.js';
import type {LayeredStore} from './store.js';

/**
 * Replies of the last requests of each session, in the state: a request that is sent again gets the reply of then. A slot
 * for each request id mod 256; the newer id wins. So an id is new when its slot holds an older one.
 */
export class Replies {
  readonly #store: LayeredStore;
  /** Highest request id of each session, so that new ones (nearly all) need no look at the store. */
  readonly #highest = new Map<number, number>();

  constructor(store: LayeredStore) {
    this.#store = store;
  }

  /** What was answered to this request, or null: it is new. Refusal: NoSession; OutOfState when it is not kept any more. */
  find(session: number, requestId: number): ReplyRecord | null {
    const highest = this.#highest.get(session) ?? this.#load(session);
    if (requestId > highest) return null;
    const bytes = this.#store.get(keys.replyKey(session, requestId));
    if (bytes === undefined) return null;
    const kept = decodeReply(bytes);
    if (kept.requestId < requestId) return null;
    if (kept.requestId === requestId) return kept;
    throw new Refusal('OutOfState', `request ${requestId} is older than the replies that are kept`);
  }

  keep(session: number, reply: ReplyRecord): void {
    const {requestId} = reply;
    this.#store.put(keys.replyKey(session, requestId), encodeReply(reply));
    const highest = this.#highest.get(session);
    // Not known yet: left to #load, the store may hold a higher one.
    if (highest !== undefined && requestId > highest) this.#highest.set(session, requestId);
  }

  forget(session: number): void {
    this.#highest.delete(session);
  }

  #load(session: number): number {
    if (this.#store.get(keys.sessionKey(session)) === undefined) {
      throw new Refusal('NoSession', `session ${session}`);
    }
    const from = keys.replyKey(session, 0);
    const rows = this.#store.range(from, keys.idEnd('r', session), keys.REPLIES_PER_SESSION);
    let highest = 0;
    for (const [, bytes] of rows) highest = Math.max(highest, decodeReply(bytes).requestId);
    this.#highest.set(session, highest);
    return highest;
  }
}

/** The reply, or throws the error that was the reply. */
export function outcomeOf<R>(op: Op<unknown, R>, kept: ReplyRecord): R {
  if (kept.status !== 0)
    throw errorFromStatus(kept.status, Buffer.from(kept.body).toString('utf8'));
  try {
    return op.reply.decode(kept.body);
  } catch {
    throw ofAnother(kept.requestId);
  }
}

/** What is kept does not say of which operation it is the reply; a client that takes a number twice is wrong. */
export const ofAnother = (requestId: number): Refusal =>
  new Refusal('OutOfState', `request ${requestId} was another one before`);

export const replyOf = (requestId: number, body: Uint8Array): ReplyRecord => ({
  requestId,
  status: 0,
  body,
});

export const refusedReply = (requestId: number, error: FsError): ReplyRecord => ({
  requestId,
  status: error.number,
  body: Buffer.from(error.detail, 'utf8'),
});
