import {FsError, Lost, messageOf, Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {sleep} from '../env/clock.js';
import type {MoveItem, MoveOrder, MoveResult} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import {type ClientEnv, type OpenedClient, openClient} from './index.js';
import {Pace} from './pace.js';
import {moveObject} from './relocate.js';

/** After a failed attempt. */
const AGAIN_MS: Ms = 1000;
const CLOSE_MS: Ms = 5000;
const DIRTY_BYTES_MAX = 1024 * 1024;
/** Objects that are moved at the same time: small ones wait for disks, not for the rate. */
const PARALLEL = 2;

/** The data server in whose process it runs. */
export interface MovingServer {
  /** For people: its group and slot. */
  name(): string;
  uuid(): string;
}

/**
 * Carries out what is to be moved (docs, "Relocation"), under a session of its own that lasts as long as there is work. The meta server says what is next; whatever fails
 * is tried again by its next pass.
 */
export class MoveAgent {
  readonly #env: ClientEnv;
  readonly #meta: string;
  readonly #server: MovingServer;
  #order: MoveOrder = {work: false, paused: false, rate: 0};
  #running: Promise<void> | null = null;
  #closed = false;

  constructor(env: ClientEnv, meta: string, server: MovingServer) {
    this.#env = env;
    this.#meta = meta;
    this.#server = server;
  }

  /** With each heartbeat. */
  ordered(order: MoveOrder): void {
    this.#order = order;
    if (this.#running !== null || this.#stopped()) return;
    this.#running = this.#run().finally(() => {
      this.#running = null;
    });
  }

  /** Stops between two steps of a copy. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  readonly #stopped = (): boolean => this.#closed || !this.#order.work || this.#order.paused;

  async #run(): Promise<void> {
    const {log, clock} = this.#env;
    let client: OpenedClient | null = null;
    try {
      client = await openClient(this.#env, {
        meta: this.#meta,
        name: `moves of ${this.#server.name()}`,
        server: this.#server.uuid(),
        agent: true,
        dirtyBytesMax: DIRTY_BYTES_MAX,
        readaheadBytes: 0,
      });
      await this.#work(client);
    } catch (error) {
      log.warn('moves.failed', {reason: messageOf(error)});
      if (!this.#closed) await sleep(clock, AGAIN_MS);
    } finally {
      await client?.close(CLOSE_MS);
    }
  }

  async #work(client: OpenedClient): Promise<void> {
    const {session, path} = client.parts;
    const pace = new Pace(this.#env.clock, path.stats, () => ({
      ...this.#order,
      // What the servers say that it asks is enough.
      busy: false,
    }));
    let results: MoveResult[] = [];
    while (!this.#stopped()) {
      const {message} = await session.call(OPS.moveNext, {results});
      results = [];
      if (message.items.length === 0 && message.waitMs > 0)
        await sleep(this.#env.clock, message.waitMs);
      const queue = [...message.items];
      const worker = async (): Promise<void> => {
        for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
          await pace.next(this.#stopped);
          if (this.#stopped()) return;
          results.push(await this.#move(client, item, pace));
        }
      };
      await Promise.all(Array.from({length: PARALLEL}, worker));
    }
    // What was done counts.
    if (results.length > 0) await session.call(OPS.moveNext, {results});
  }

  async #move(client: OpenedClient, item: MoveItem, pace: Pace): Promise<MoveResult> {
    const {task, oid, groupCount} = item;
    const layout = item.layout!;
    const result = {task, oid, moved: false, failed: true, bytes: 0, reason: ''};
    try {
      const {is, bytes} = await moveObject(
        client,
        oid,
        // Somebody else has moved it meanwhile.
        ({generation}) => (generation === layout.generation ? {...layout, groupCount} : null),
        {stopped: this.#stopped, pace},
      );
      if (is === 'busy') return {...result, reason: `object ${oid} is in use`};
      return {...result, moved: is === 'moved', failed: false, bytes};
    } catch (error) {
      if (error instanceof Lost || (error instanceof Refusal && error.kind === 'Fenced'))
        throw error;
      const reason =
        error instanceof FsError ? `object ${oid}: ${error.message}` : messageOf(error);
      this.#env.log.info('move.failed', {oid, reason});
      return {...result, reason};
    }
  }
}
