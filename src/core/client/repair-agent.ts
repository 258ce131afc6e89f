import {FsError, messageOf, Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {type ClusterMap, SLOT} from '../cluster/map.js';
import type {RecoveryOrder, RecoverySpeed} from '../cluster/recovery.js';
import {sleep} from '../env/clock.js';
import type {ChunkRef} from '../protocol/gen/wire.js';
import {type ClientEnv, type OpenedClient, openClient} from './index.js';
import {Pace} from './pace.js';
import {recoverSlot, resyncGroup} from './repair.js';

/** After a failed attempt; the map or a server is about to change. */
const AGAIN_MS: Ms = 1000;
/** After an attempt that servers which are away keep from its end, unless the map changes. */
const WAIT_MS: Ms = 10_000;
const CLOSE_MS: Ms = 5000;
const DIRTY_BYTES_MAX = 8 * 1024 * 1024;

/** What the agent needs of the data server in whose process it runs. */
export interface RepairedServer {
  /** 0: none yet. */
  group(): number;
  uuid(): string;
  /** Chunks of its intent log as it started. */
  intents(): readonly ChunkRef[];
  /** False: it has never been ready, so it lacks whatever the group holds. */
  whole(): boolean;
  recovered(epoch: number): Promise<void>;
  resyncDone(order: number): void;
  /** How the recovery is to go on, and whether the server has clients to serve. */
  order(): RecoveryOrder & {busy: boolean};
  /** How many chunks the recovery has yet to rebuild, and how fast it goes. */
  progress(left: number, speed: () => RecoverySpeed): void;
}

/**
 * Recovers the slot of one data server and carries out resync orders, under a session of its own that lasts as long as there is
 * work. Whatever fails is begun again; nothing that it does is harmful twice.
 */
export class RepairAgent {
  readonly #env: ClientEnv;
  readonly #meta: string;
  readonly #server: RepairedServer;
  #slot = -1;
  #recovering = false;
  /** The newest order that was asked for, and the newest that was carried out. */
  #order = 0;
  #done = 0;
  #running: Promise<void> | null = null;
  #closed = false;
  /** Chunks that were brought up to date by this process. */
  readonly #recovered = new Set<string>();

  constructor(env: ClientEnv, meta: string, server: RepairedServer) {
    this.#env = env;
    this.#meta = meta;
    this.#server = server;
  }

  /** After each map that the server obeys. */
  onMap(map: ClusterMap, slot: number): void {
    const group = map.groups.find((candidate) => candidate.id === this.#server.group());
    this.#slot = slot;
    this.#recovering = group?.slots[slot]?.state === SLOT.recovering;
    this.#wake();
  }

  onResync(order: number): void {
    this.#order = Math.max(this.#order, order);
    this.#wake();
  }

  /** Stops between two chunks. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  get #work(): boolean {
    return !this.#closed && (this.#recovering || this.#done < this.#order);
  }

  #wake(): void {
    if (this.#running !== null || !this.#work) return;
    this.#running = this.#run().finally(() => {
      this.#running = null;
      this.#wake();
    });
  }

  async #run(): Promise<void> {
    const {log, clock} = this.#env;
    let client: OpenedClient | null = null;
    try {
      client = await openClient(this.#env, {
        meta: this.#meta,
        name: `repair of ${this.#server.group()}.${this.#slot}`,
        server: this.#server.uuid(),
        agent: true,
        dirtyBytesMax: DIRTY_BYTES_MAX,
      });
      while (this.#work) await this.#once(client);
    } catch (error) {
      log.warn('repair.failed', {reason: messageOf(error)});
      if (!this.#closed) await sleep(clock, AGAIN_MS);
    } finally {
      await client?.close(CLOSE_MS);
    }
  }

  async #once(client: OpenedClient): Promise<void> {
    const {log} = this.#env;
    const {epoch} = client.parts.path.columns.map;
    try {
      if (this.#recovering) await this.#recover(client, epoch);
      else await this.#resync(client);
    } catch (error) {
      const waits =
        (error instanceof FsError && error.errno === 'EAGAIN') ||
        (error instanceof Refusal && error.kind === 'StaleEpoch');
      if (!waits || this.#closed) throw error;
      log.info('repair.waits', {group: this.#server.group(), reason: messageOf(error)});
      await client.parts.path.columns.newer(epoch, WAIT_MS);
    }
  }

  async #recover(client: OpenedClient, epoch: number): Promise<void> {
    const {log} = this.#env;
    const group = this.#server.group();
    log.info('recovery.started', {group, slot: this.#slot, epoch});
    const pace = new Pace(this.#env.clock, client.parts.path.stats, () => this.#server.order());
    await recoverSlot(client, group, this.#slot, {
      stopped: () => this.#closed,
      progress: (left) => this.#server.progress(left, () => pace.speed),
      pace,
      intents: this.#server.intents(),
      empty: !this.#server.whole(),
      done: this.#recovered,
    });
    await this.#server.recovered(epoch);
    log.info('recovery.done', {group, slot: this.#slot, epoch});
    // The next map says so; until then there is nothing to do.
    await client.parts.path.columns.newer(epoch, AGAIN_MS);
  }

  async #resync(client: OpenedClient): Promise<void> {
    const {log} = this.#env;
    const group = this.#server.group();
    const order = this.#order;
    log.info('resync.started', {group, order});
    await resyncGroup(client, group, {stopped: () => this.#closed});
    this.#done = Math.max(this.#done, order);
    this.#server.resyncDone(order);
    log.info('resync.done', {group, order});
  }
}
