import {messageOf} from '../base/errors.js';
import type {ChunkRef} from '../protocol/gen/wire.js';
import {type ClientEnv, type OpenedClient, openClient} from './index.js';
import {type Compared, compareColumns, type OwnColumn} from './scrub-compare.js';
import {scrubChunk, type Verdict} from './scrub-repair.js';

const CLOSE_MS = 5000;
const CONNECT_MS = 5000;
const DIRTY_BYTES_MAX = 1024 * 1024;

/** What the agent needs of the data server in whose process it runs. */
export interface ScrubbedServer {
  /** 0: none yet. */
  group(): number;
  /** Own slot in the group. */
  slot(): number;
}

/**
 * What the scrub of one data server needs of the others, under a session of its own that lasts as long as a pass does: comparing
 * columns, and judging under leases what does not agree. Whatever fails is tried again by the pass.
 */
export class ScrubAgent {
  readonly #env: ClientEnv;
  readonly #meta: string;
  readonly #server: ScrubbedServer;
  #client: Promise<OpenedClient> | null = null;
  #closing: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(env: ClientEnv, meta: string, server: ScrubbedServer) {
    this.#env = env;
    this.#meta = meta;
    this.#server = server;
  }

  /** See ScrubPeers (core/data/scrub.ts). */
  async compare(
    columns: readonly OwnColumn[],
    deep: boolean,
    pace: (bytes: number) => Promise<boolean>,
  ): Promise<Compared> {
    const group = this.#server.group();
    try {
      const {path} = (await this.#open()).parts;
      return await compareColumns(path, group, this.#server.slot(), columns, deep, pace);
    } catch (error) {
      this.#env.log.info('scrub.waits', {group, reason: messageOf(error)});
      const busy = columns.map(({oid, chunk, generation}) => ({oid, chunk, generation}));
      return {suspects: [], busy};
    }
  }

  async repair(id: ChunkRef, rows: readonly number[]): Promise<Verdict> {
    const group = this.#server.group();
    const verdict: Verdict = {is: 'later', bad: 0, repaired: 0, lost: 0, ranges: []};
    try {
      await scrubChunk(await this.#open(), group, this.#server.slot(), id, rows, verdict);
    } catch (error) {
      const {oid, chunk} = id;
      this.#env.log.info('scrub.waits', {group, oid, chunk, reason: messageOf(error)});
    }
    if (verdict.is === 'done') return verdict;
    // All of it is looked at again, when what was repaired is good.
    const {is, repaired} = verdict;
    return {is, bad: repaired, repaired, lost: 0, ranges: []};
  }

  /** Ends the session; the next pass begins another. */
  rest(): void {
    const client = this.#client;
    if (client === null) return;
    this.#client = null;
    const ended = client.then(
      (one) => one.close(CLOSE_MS),
      () => {},
    );
    this.#closing = Promise.all([this.#closing, ended]).then(() => {});
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.rest();
    await this.#closing;
  }

  #open(): Promise<OpenedClient> {
    if (this.#closed) throw new Error('the agent is closed');
    if (this.#client === null) {
      const group = this.#server.group();
      const client = openClient(this.#env, {
        meta: this.#meta,
        name: `scrub of ${group}.${this.#server.slot()}`,
        dirtyBytesMax: DIRTY_BYTES_MAX,
        connectMs: CONNECT_MS,
      });
      this.#client = client;
      client.catch(() => {
        if (this.#client === client) this.#client = null;
      });
    }
    return this.#client;
  }
}
