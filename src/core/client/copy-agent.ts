import {FsError} from '../base/errors.js';
import {KIB} from '../base/units.js';
import {chunkDataBytes, columnBytes} from '../layout/stripe.js';
import {EVERYTHING} from '../lease/ranges.js';
import type {ReadCopyOrder} from '../protocol/gen/wire.js';
import {LEASE, OPS} from '../protocol/ops.js';
import {AgentSession} from './agent-session.js';
import {storedSums} from './blocks.js';
import type {Held} from './held.js';
import type {ClientEnv, OpenedClient} from './index.js';
import {fetchColumns} from './stripe-reader.js';

/** So much of a column is read at a time. */
const WINDOW_BYTES = 256 * KIB;

/** Where a read copy goes, column by column, from the beginning on. */
export interface CopySink {
  /** The bytes are at `memory` of the pool until this resolves; holes are left out. */
  write(
    shape: {column: number; k: number; m: number; unitBytes: number},
    range: {offset: number; length: number},
    memory: number,
    sums: Uint8Array,
  ): Promise<void>;
}

/** Makes read copies for the data server in whose process it works, under a session of its own. */
export class CopyAgent {
  readonly #env: ClientEnv;
  readonly #session: AgentSession;

  /** `uuid`: of the data server. */
  constructor(env: ClientEnv, meta: string, uuid: () => string) {
    this.#env = env;
    this.#session = new AgentSession(env, () => ({
      meta,
      name: `read copies of ${uuid().slice(0, 8)}`,
      server: uuid(),
    }));
  }

  /** Resolves when all data columns of the chunk are in the sink and the meta server may tell of it; rejects if that could not be. */
  async make(order: ReadCopyOrder, sink: CopySink): Promise<void> {
    const client = await this.#session.open();
    const run = (held: Held): Promise<void> => this.#copy(client, held, order, sink);
    await client.parts.holder.use(order.oid, LEASE.read, run, EVERYTHING, true);
  }

  rest(): void {
    this.#session.rest();
  }

  close(): Promise<void> {
    return this.#session.close();
  }

  async #copy(
    client: OpenedClient,
    held: Held,
    {id, oid, chunk}: ReadCopyOrder,
    sink: CopySink,
  ): Promise<void> {
    const {path, session} = client.parts;
    const {pool, codec} = this.#env;
    const {layout} = held;
    if (layout === null) throw new FsError('EINVAL', `object ${oid} has no columns`);
    const {k, m, unitBytes} = layout;
    const chunkBytes = chunkDataBytes(layout);
    const length = Math.min(chunkBytes, Math.max(0, held.size - chunk * chunkBytes));
    const target = {oid, layout, heal: null, wanted: () => held.gate !== null};
    for (let column = 0; column < k; column++) {
      const bytes = columnBytes(layout, column, length);
      for (let offset = 0; offset < bytes; offset += WINDOW_BYTES) {
        // It can be made another time.
        if (held.gate !== null) throw new FsError('EAGAIN', `object ${oid} is wanted`);
        const range = {offset, length: Math.min(WINDOW_BYTES, bytes - offset)};
        const [got] = await fetchColumns(path, target, chunk, [{column, ...range}]);
        if (got!.slot === -1) continue;
        try {
          const sums = storedSums(codec, pool.memory, got!.memory, range.length);
          await sink.write({column, k, m, unitBytes}, range, got!.memory, sums);
        } finally {
          pool.release(got!.slot);
        }
      }
    }
    await session.call(OPS.readCopyMade, {id, oid});
  }
}
