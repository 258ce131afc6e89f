import type {Op} from '../protocol/ops.js';
import type {Handler} from './peer-api.js';

/** What a connection may ask in one state of it: `hello` only, then what its role allows. Anything else closes it. */
export class Handlers<C> {
  readonly #byCode = new Map<number, Handler<unknown, unknown, C>>();

  on<Q, R>(op: Op<Q, R>, handler: Handler<Q, R, C>): this {
    this.#byCode.set(op.code, handler as Handler<unknown, unknown, C>);
    return this;
  }

  get(code: number): Handler<unknown, unknown, C> | undefined {
    return this.#byCode.get(code);
  }
}
