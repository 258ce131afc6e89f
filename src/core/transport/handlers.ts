import type {Segment} from '../base/pool.js';
import type {AnyOp, Op} from '../protocol/ops.js';
import type {Answer, Handler} from './peer-api.js';

/** Sees each request before its handler does; `run` is that. Throws, and has released the payload, if it is not to be carried out. */
export type Guard<C> = (
  op: AnyOp,
  request: unknown,
  context: C,
  payload: Segment | null,
  run: () => Answer<unknown> | Promise<Answer<unknown>>,
) => Answer<unknown> | Promise<Answer<unknown>>;

/** What a connection may ask in one state of it: `hello` only, then what its role allows. Anything else closes it. */
export class Handlers<C> {
  readonly #byCode = new Map<number, Handler<unknown, unknown, C>>();
  readonly #guard: Guard<C> | null;

  constructor(guard: Guard<C> | null = null) {
    this.#guard = guard;
  }

  on<Q, R>(op: Op<Q, R>, given: Handler<Q, R, C>): this {
    const handler = given as Handler<unknown, unknown, C>;
    const guard = this.#guard;
    const guarded: Handler<unknown, unknown, C> = (request, context, payload, id) =>
      guard!(op as unknown as AnyOp, request, context, payload, () =>
        handler(request, context, payload, id),
      );
    this.#byCode.set(op.code, guard === null ? handler : guarded);
    return this;
  }

  get(code: number): Handler<unknown, unknown, C> | undefined {
    return this.#byCode.get(code);
  }
}
