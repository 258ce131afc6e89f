import {messageOf} from '../base/errors.js';
import type {ChunkRef} from '../protocol/gen/wire.js';
import {AgentSession} from './agent-session.js';
import type {ClientEnv} from './index.js';
import {type Compared, compareColumns, type OwnColumn} from './scrub-compare.js';
import {scrubChunk, type Verdict} from './scrub-repair.js';

/** What the agent needs of the data server in whose process it runs. */
export interface ScrubbedServer {
  /** 0: none yet. */
  group(): number;
  /** Own slot in the group. */
  slot(): number;
  uuid(): string;
}

/**
 * What the scrub of one data server needs of the others, under a session of its own that lasts as long as a pass does: comparing
 * columns, and judging under leases what does not agree. Whatever fails is tried again by the pass.
 */
export class ScrubAgent {
  readonly #env: ClientEnv;
  readonly #server: ScrubbedServer;
  readonly #session: AgentSession;

  constructor(env: ClientEnv, meta: string, server: ScrubbedServer) {
    this.#env = env;
    this.#server = server;
    this.#session = new AgentSession(env, () => ({
      meta,
      name: `scrub of ${server.group()}.${server.slot()}`,
      server: server.uuid(),
    }));
  }

  /** See ScrubPeers (core/data/scrub.ts). */
  async compare(
    columns: readonly OwnColumn[],
    deep: boolean,
    pace: (bytes: number) => Promise<boolean>,
  ): Promise<Compared> {
    const group = this.#server.group();
    try {
      const {path} = (await this.#session.open()).parts;
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
      await scrubChunk(await this.#session.open(), group, this.#server.slot(), id, rows, verdict);
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
    this.#session.rest();
  }

  close(): Promise<void> {
    return this.#session.close();
  }
}
