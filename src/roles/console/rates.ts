import type {Counts, Status} from '../admin.js';

/** A second. Of a data server what it did for others, of a client what others did for it. */
export type Rate = Counts;

export interface Traffic {
  /** All data servers together. */
  servers: Rate;
  /** All clients together. */
  clients: Rate;
  /** Changes that the meta server carried out. */
  changes: number;
}

/** The last looks, the oldest first: bytes and requests a second. */
export interface History {
  everyMs: number;
  read: number[];
  written: number[];
  /** Reads, writes and syncs of data servers. */
  operations: number[];
  /** What clients got from, and gave to, data servers. */
  clientRead: number[];
  clientWritten: number[];
  clientCalls: number[];
  metaCalls: number[];
  metaChanges: number[];
}

const POINTS_MAX = 120;
/** Nodes tell their counters each second, not in step with those who look: over three looks that evens out. */
const LOOKS = 4;
const NAMES = [
  'reads',
  'readBytes',
  'writes',
  'writeBytes',
  'syncs',
  'calls',
  'metaCalls',
] as const satisfies readonly (keyof Counts)[];

export const noRate = (): Rate => ({
  reads: 0,
  readBytes: 0,
  writes: 0,
  writeBytes: 0,
  syncs: 0,
  calls: 0,
  metaCalls: 0,
});

export const operationsOf = ({reads, writes, syncs}: Rate): number => reads + writes + syncs;

/** Counts of one node as they were at some moments. */
class Meter {
  readonly #looks: {at: number; counts: Counts}[] = [];

  take(at: number, counts: Counts): Rate {
    // A process that has begun anew counts from zero.
    const last = this.#looks.at(-1);
    if (last !== undefined && NAMES.some((name) => counts[name] < last.counts[name]))
      this.#looks.length = 0;
    this.#looks.push({at, counts});
    if (this.#looks.length > LOOKS) this.#looks.shift();
    const first = this.#looks[0]!;
    const seconds = (at - first.at) / 1000;
    const rate = noRate();
    if (seconds <= 0) return rate;
    for (const name of NAMES) rate[name] = (counts[name] - first.counts[name]) / seconds;
    return rate;
  }
}

const CHANGES = 'meta';
const nodeOf = (server: string | null, session: number | null): string =>
  server === null ? `client ${session}` : `server ${server}`;

/** Makes of counters that only grow what goes on in a second. */
export class Meters {
  readonly history: History;
  #meters = new Map<string, Meter>();
  #rates = new Map<string, Rate>();
  #looked = false;

  constructor(everyMs: number) {
    this.history = {
      everyMs,
      read: [],
      written: [],
      operations: [],
      clientRead: [],
      clientWritten: [],
      clientCalls: [],
      metaCalls: [],
      metaChanges: [],
    };
  }

  /** null: not known, as after one look, or of a node of an older release. */
  serverRate(uuid: string | null): Rate | null {
    return this.#rates.get(nodeOf(uuid ?? '', null)) ?? null;
  }

  clientRate(session: number): Rate | null {
    return this.#rates.get(nodeOf(null, session)) ?? null;
  }

  /** `at` by a clock that only goes forward. null: this is the first look. */
  take({counters, changes}: Status, at: number): Traffic | null {
    const before = this.#meters;
    this.#meters = new Map();
    this.#rates = new Map();
    const measured = (key: string, counts: Counts): Rate => {
      const meter = before.get(key) ?? new Meter();
      this.#meters.set(key, meter);
      return meter.take(at, counts);
    };
    const all = {servers: noRate(), clients: noRate()};
    for (const {server, session, ...counts} of counters) {
      const key = nodeOf(server, session);
      const rate = measured(key, counts);
      const sum = server === null ? all.clients : all.servers;
      for (const name of NAMES) sum[name] += rate[name];
      if (before.has(key)) this.#rates.set(key, rate);
    }
    const {calls} = measured(CHANGES, {...noRate(), calls: changes});
    if (!this.#looked) {
      this.#looked = true;
      return null;
    }
    const traffic = {...all, changes: calls};
    this.#keep(traffic);
    return traffic;
  }

  #keep({servers, clients, changes}: Traffic): void {
    const {everyMs: _, ...lines} = this.history;
    const points: Record<keyof typeof lines, number> = {
      read: servers.readBytes,
      written: servers.writeBytes,
      operations: operationsOf(servers),
      clientRead: clients.readBytes,
      clientWritten: clients.writeBytes,
      clientCalls: clients.calls,
      metaCalls: clients.metaCalls,
      metaChanges: changes,
    };
    for (const [name, line] of Object.entries(lines) as [keyof typeof lines, number[]][]) {
      line.push(Math.round(points[name]));
      if (line.length > POINTS_MAX) line.shift();
    }
  }
}
