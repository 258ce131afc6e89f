import {KIB} from '../base/units.js';
import type {ServerInfo} from '../cluster/map.js';
import type {Clock} from '../env/clock.js';
import type {Random} from '../env/random.js';
import {type ChunkPlace, columnReadable} from './place.js';

/** A request is worth one unit, and one more for as many bytes. */
const UNIT_BYTES = 64 * KIB;
/** Of a server that has answered nothing for so long, it is found out anew how fast it is. */
const KNOWN_MS = 2000;
/** Time of one unit at a server of which nothing is known: less than most take, so that it is tried. */
const UNKNOWN_MS = 0.1;
/** What weight the newest answer has. */
const NEWEST = 1 / 8;
/** Differences below this are chance. */
const NOISE_MS = 0.5;
/** More servers than any group has copies on; then all is forgotten. */
const SERVERS_MAX = 4096;

interface Server {
  /** Of a unit, smoothed. */
  ms: number;
  answeredAt: number;
  /** Units that it has been asked for and has not given. */
  asked: number;
}

/**
 * Which copy is read, where every column is one: the nearest of those that are not much slower than the best one, by the time that
 * their servers took of late and what is asked of them; among equals any. Nearness: how much of the location they have in common with
 * the reader, from the left (`room1/rack3/host7`).
 */
export class Copies {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #here: readonly string[];
  readonly #servers = new Map<string, Server>();

  /** `location`: of the reader; '': not known, all are equally far. */
  constructor(clock: Clock, random: Random, location = '') {
    this.#clock = clock;
    this.#random = random;
    this.#here = labels(location);
  }

  /** A column of a chunk that can be read, any if none can. */
  pick(place: ChunkPlace): number {
    const {m} = place.layout;
    // Drawn in any case: a world's course does not depend on who was fast.
    const first = this.#random.below(m + 1);
    const costs: number[] = [];
    for (let column = 0; column <= m; column++) {
      const {server} = place.infos[column]!;
      const known = server !== null && columnReadable(place, column);
      costs.push(known ? this.#cost(server) : Number.POSITIVE_INFINITY);
    }
    const bearable = 2 * Math.min(...costs) + NOISE_MS;
    let best = first;
    let nearest = -1;
    for (let turn = 0; turn <= m; turn++) {
      const column = (first + turn) % (m + 1);
      if (costs[column]! > bearable || costs[column] === Number.POSITIVE_INFINITY) continue;
      const near = this.#inCommon(place.infos[column]!.server!);
      if (near <= nearest) continue;
      nearest = near;
      best = column;
    }
    return best;
  }

  /** Reads `bytes` from a server; whoever gets an answer calls what is returned. */
  begin({uuid}: ServerInfo, bytes: number): (answered: boolean) => void {
    if (this.#servers.size >= SERVERS_MAX && !this.#servers.has(uuid)) this.#servers.clear();
    let server = this.#servers.get(uuid);
    if (server === undefined) {
      server = {ms: 0, answeredAt: Number.NEGATIVE_INFINITY, asked: 0};
      this.#servers.set(uuid, server);
    }
    const one = server;
    const units = 1 + bytes / UNIT_BYTES;
    const start = this.#clock.now();
    one.asked += units;
    return (answered) => {
      one.asked -= units;
      if (!answered) return;
      const now = this.#clock.now();
      const ms = (now - start) / units;
      one.ms = now - one.answeredAt > KNOWN_MS ? ms : one.ms + (ms - one.ms) * NEWEST;
      one.answeredAt = now;
    };
  }

  #cost({uuid}: ServerInfo): number {
    const server = this.#servers.get(uuid);
    if (server === undefined) return UNKNOWN_MS;
    const known = this.#clock.now() - server.answeredAt <= KNOWN_MS;
    return (known ? server.ms : UNKNOWN_MS) * (1 + server.asked);
  }

  #inCommon({location = ''}: ServerInfo): number {
    if (this.#here.length === 0) return 0;
    const there = labels(location);
    let common = 0;
    while (common < there.length && there[common] === this.#here[common]) common++;
    return common;
  }
}

const labels = (location: string): string[] => location.split('/').filter((part) => part !== '');
