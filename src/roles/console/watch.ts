import {setTimeout as delay} from 'node:timers/promises';
import type {PeerLike} from '../../core/transport/peer-api.js';
import {statusFrom, withMeta} from '../admin.js';
import {CliError, EXIT} from '../cli-error.js';
import {type Cursor, eventsFrom} from '../events.js';
import {type Chosen, type Leases, type Locks, leasesFrom, locksFrom} from '../holdings.js';
import {type MetaStatus, metaStatus} from '../meta/nodes.js';
import type {Look} from './model.js';

export interface Watched {
  /** As --meta names them. */
  meta: string;
  everyMs: number;
  /** Of one question. */
  timeoutMs: number;
  /** Whose leases and locks are wanted now. */
  chosen(): Omit<Chosen, 'limit'>;
}

export interface Heard {
  look(look: Look): void;
  /** There is no answer; it is asked again. */
  lost(why: string): void;
}

/** Leases, locks and other meta servers cost more to ask for, and change nothing of what is at risk. */
const DEAR_MS = 5_000;
const HOLDINGS_MAX = 200;
/** Pages of events that one look reads at most: all that a meta server keeps. */
const PAGES_MAX = 5;

/** One look after the other, of the meta server that is active. Each keeps what was dear to find for a while. */
export class Watcher {
  readonly #of: Watched;
  readonly #cursor: Cursor = {boot: 0, after: 0};
  #metas: MetaStatus | null = null;
  #holdings: {leases: Leases; locks: Locks; of: string} | null = null;
  #asked: Promise<void> = Promise.resolve();
  #metasAt = Number.NEGATIVE_INFINITY;
  #holdingsAt = Number.NEGATIVE_INFINITY;

  constructor(of: Watched) {
    this.#of = of;
  }

  /** A single one, with all that there is to know. */
  async once(): Promise<Look> {
    const look = await withMeta(this.#of.meta, this.#of.timeoutMs, (peer) => this.#look(peer));
    await this.#asked;
    return {...look, metas: this.#metas};
  }

  /** Until `signal`; rejects with what waiting does not help against. */
  async watch(heard: Heard, signal: AbortSignal): Promise<void> {
    const {meta, everyMs, timeoutMs} = this.#of;
    while (!signal.aborted) {
      try {
        await withMeta(meta, timeoutMs, async (peer) => {
          while (!signal.aborted) {
            heard.look(await this.#look(peer));
            await pause(everyMs, signal);
          }
        });
      } catch (error) {
        if (!passes(error)) throw error;
        heard.lost((error as Error).message);
        await pause(everyMs, signal);
      }
    }
  }

  async #look(peer: PeerLike): Promise<Look> {
    const {timeoutMs} = this.#of;
    const status = await statusFrom(peer, timeoutMs);
    const events = await this.#events(peer);
    await this.#dear(peer);
    const {leases, locks} = this.#holdings!;
    return {status, events, leases, locks, metas: this.#metas};
  }

  async #events(peer: PeerLike): Promise<Look['events']> {
    const all: Look['events'] = [];
    for (let pages = 0; pages < PAGES_MAX; pages++) {
      const {boot, events} = await eventsFrom(peer, this.#of.timeoutMs, this.#cursor, 0);
      if (boot !== this.#cursor.boot) this.#cursor.after = 0;
      this.#cursor.boot = boot;
      this.#cursor.after = events.at(-1)?.number ?? this.#cursor.after;
      all.push(...events);
      if (events.length === 0) break;
    }
    return all;
  }

  async #dear(peer: PeerLike): Promise<void> {
    const {meta, timeoutMs} = this.#of;
    const now = performance.now();
    const chosen = {...this.#of.chosen(), limit: HOLDINGS_MAX};
    const of = JSON.stringify(chosen);
    if (this.#holdings?.of !== of || now - this.#holdingsAt >= DEAR_MS) {
      const leases = await leasesFrom(peer, timeoutMs, chosen);
      const locks = await locksFrom(peer, timeoutMs, chosen);
      this.#holdings = {leases, locks, of};
      this.#holdingsAt = now;
    }
    if (now - this.#metasAt < DEAR_MS) return;
    this.#metasAt = now;
    // Not waited for: one that is away takes its time.
    this.#asked = metaStatus(meta, timeoutMs).then(
      (metas) => {
        this.#metas = metas;
      },
      () => {},
    );
  }
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  delay(ms, undefined, {signal}).catch(() => {});

/** Another answer may come without anybody doing anything here. */
const passes = (error: unknown): boolean =>
  error instanceof CliError
    ? error.exit === EXIT.unavailable
    : error instanceof Error && ['Lost', 'Refusal'].includes(error.name);
