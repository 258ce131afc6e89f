import type {Ms} from '../base/ids.js';
import type {Counters, HeartbeatRequest, HotFile, NodeCounters} from '../protocol/gen/wire.js';

const SERVERS_MAX = 8192;
const HOT_PER_SERVER = 16;
const HOT_MAX = 8;
const NAMED_MS: Ms = 10_000;
const NOTHING = new Uint8Array(0);

/** What data servers and clients say of themselves with their heartbeats. In memory: they say it again. */
export class Figures {
  readonly #servers = new Map<string, Pick<HeartbeatRequest, 'counters' | 'hot'>>();
  readonly #sessions = new Map<number, Counters>();
  /** Paths of hot objects. */
  readonly #named = new Map<number, Uint8Array>();
  #namedAt = Number.NEGATIVE_INFINITY;

  server(uuid: string, {counters, hot}: Pick<HeartbeatRequest, 'counters' | 'hot'>): void {
    if (this.#servers.size >= SERVERS_MAX && !this.#servers.has(uuid)) this.#servers.clear();
    this.#servers.set(uuid, {counters, hot: hot.slice(0, HOT_PER_SERVER)});
  }

  /** An older client tells nothing. */
  session(id: number, {counters}: Pick<HeartbeatRequest, 'counters'>): void {
    if (counters) this.#sessions.set(id, counters);
  }

  /** Of these servers and sessions; of others nothing is kept any more. */
  counters(servers: ReadonlySet<string>, sessions: ReadonlySet<number>): NodeCounters[] {
    for (const id of this.#sessions.keys()) if (!sessions.has(id)) this.#sessions.delete(id);
    for (const uuid of this.#servers.keys()) if (!servers.has(uuid)) this.#servers.delete(uuid);
    const told = [...this.#servers].flatMap(([server, {counters}]) =>
      counters ? [{server, session: 0, counters}] : [],
    );
    const clients = [...this.#sessions].map(([session, counters]) => ({
      server: '',
      session,
      counters,
    }));
    return [...told, ...clients];
  }

  /** Objects of which most is read, the hottest first. Paths are dear to find, so they are kept for a while. */
  hot(now: Ms, paths: () => {of(oid: number): Uint8Array}): HotFile[] {
    const weights = new Map<number, number>();
    for (const {hot} of this.#servers.values())
      for (const {oid, weight} of hot) weights.set(oid, (weights.get(oid) ?? 0) + weight);
    const hottest = [...weights].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, HOT_MAX);
    if (now - this.#namedAt >= NAMED_MS) {
      this.#named.clear();
      this.#namedAt = now;
      const finder = paths();
      for (const [oid] of hottest) this.#named.set(oid, finder.of(oid));
    }
    return hottest.map(([oid, weight]) => ({oid, weight, path: this.#named.get(oid) ?? NOTHING}));
  }
}
