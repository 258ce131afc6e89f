import {KIB} from '../base/units.js';
import type {ClusterMap, ServerInfo} from '../cluster/map.js';
import type {Clock} from '../env/clock.js';
import type {Random} from '../env/random.js';
import {inCommon} from '../layout/location.js';
import type {ReadCopy} from '../protocol/gen/wire.js';
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
  readonly #here: string;
  readonly #servers = new Map<string, Server>();

  /** `location`: of the reader; '': not known, all are equally far. */
  constructor(clock: Clock, random: Random, location = '') {
    this.#clock = clock;
    this.#random = random;
    this.#here = location;
  }

  /**
   * A column of a chunk that can be read, any if none can. `alike`: as in Held. After a power cut copies may differ by what was not synced, until a resync has made them
   * what the first one is: until then all read that one, or somebody would see what was, after what is.
   */
  pick(place: ChunkPlace, alike = -1): number {
    const {m} = place.layout;
    const servers: (ServerInfo | null)[] = [];
    for (let column = 0; column <= m; column++)
      servers.push(columnReadable(place, column) ? place.infos[column]!.server : null);
    const best = this.#best(servers);
    const settled = alike >= 0 && place.infos.every(({madeAt = 0}) => madeAt <= alike);
    return Math.max(0, settled ? best : servers.findIndex((server) => server !== null));
  }

  /** -1: there is none. */
  #best(servers: readonly (ServerInfo | null)[]): number {
    const count = servers.length;
    // Drawn in any case: a world's course does not depend on who was fast.
    const first = this.#random.below(count);
    const costs = servers.map((one) => (one === null ? Number.POSITIVE_INFINITY : this.#cost(one)));
    const bearable = 2 * Math.min(...costs) + NOISE_MS;
    let best = -1;
    let nearest = -1;
    for (let turn = 0; turn < count; turn++) {
      const index = (first + turn) % count;
      const server = servers[index]!;
      if (server === null || costs[index]! > bearable) continue;
      const near = inCommon(this.#here, server.location ?? '');
      if (near <= nearest) continue;
      nearest = near;
      best = index;
    }
    return best;
  }

  /** A read copy that is better than the column itself (-1: that cannot be read); null: there is none. */
  instead(
    map: ClusterMap,
    place: ChunkPlace,
    column: number,
    copies: readonly ReadCopy[],
  ): ReadCopy | null {
    const own = column < 0 ? null : place.infos[column]!.server;
    const all: {copy: ReadCopy | null; server: ServerInfo}[] =
      own === null ? [] : [{copy: null, server: own}];
    for (const copy of copies) {
      const slots = map.groups.find(({id}) => id === copy.group)?.slots;
      const server = slots?.[copy.slot]?.server;
      if (server?.uuid === copy.server) all.push({copy, server});
    }
    const best = this.#best(all.map(({server}) => server));
    return best < 0 ? null : all[best]!.copy;
  }

  /** Reads `bytes` from a server (its id); whoever gets an answer calls what is returned. */
  begin(uuid: string, bytes: number): (answered: boolean) => void {
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
}
