import type {OpenedClient} from '../client/index.js';
import {OPS} from '../protocol/ops.js';
import {PlainCodec} from './codec.js';

/** A planted bug, which the audit must find: now and then redundancy stays what it was. */
export class LazyCodec extends PlainCodec {
  readonly #random: {float(): number};

  constructor(random: {float(): number}) {
    super();
    this.#random = random;
  }

  override encode(...call: Parameters<PlainCodec['encode']>): void {
    if (this.#random.float() < 0.8) super.encode(...call);
  }
}

/** The third lease that is wanted back is given back, and goes on being used. */
export function skipOneRecall({parts: {holder, session}}: OpenedClient): void {
  const obey = holder.recall.bind(holder);
  let left = 3;
  holder.recall = (oid, keep) => {
    if (--left === 0) void session.call(OPS.yieldLease, {oid, keep}).catch(() => {});
    else obey(oid, keep);
  };
}
