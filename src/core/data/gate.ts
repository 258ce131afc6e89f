import {Refusal} from '../base/errors.js';
import {type ClusterMap, SLOT, type SlotInfo} from '../cluster/map.js';

/** Says which columns of a chunk a server must remember as missed: those whose slot is away. */
export interface Surroundings {
  /** Own group; 0: the map does not have this server. */
  group: number;
  /** Own slot; -1: the map does not have this server. */
  slot: number;
  slots: readonly SlotInfo[];
  away: readonly number[];
}

const NOWHERE: Surroundings = {group: 0, slot: -1, slots: [], away: []};

/**
 * Lets requests pass that were made under the map that this server obeys. A new map is obeyed when everything that had passed
 * under the old one has ended: so nothing that the new one forbids happens after its acknowledgement.
 */
export class Gate {
  readonly #uuid: string;
  #map: ClusterMap | null = null;
  #fenced: ReadonlySet<number> = new Set();
  #around = NOWHERE;
  #running = 0;
  /** Requests under way, of each session that has any. */
  readonly #bySession = new Map<number, number>();
  #waiting: {session: number; resolve: () => void}[] = [];
  #drained: (() => void) | null = null;
  /** While a map is being taken up nothing new passes. */
  #closed: Promise<void> | null = null;

  constructor(uuid: string) {
    this.#uuid = uuid;
  }

  get map(): ClusterMap | null {
    return this.#map;
  }

  /** Own group as the map has it. */
  get around(): Surroundings {
    return this.#around;
  }

  /** Requests that have passed and not ended. */
  get running(): number {
    return this.#running;
  }

  isFenced(session: number): boolean {
    return this.#fenced.has(session);
  }

  /**
   * Runs what a request asks for. Refusals: StaleEpoch, BehindEpoch, Fenced, Busy before the first map. `session` 0 is the
   * meta server. One that knows a newer map which is just being taken up waits for it.
   */
  async pass<T>(session: number, epoch: number, work: () => Promise<T>): Promise<T> {
    await this.admit(session, epoch);
    this.#running++;
    this.#bySession.set(session, (this.#bySession.get(session) ?? 0) + 1);
    try {
      return await work();
    } finally {
      this.#running--;
      if (this.#running === 0) this.#drained?.();
      this.#ended(session);
    }
  }

  /** Resolves when nothing that this session asked for is under way. */
  idle(session: number): Promise<void> {
    if (!this.#bySession.has(session)) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({session, resolve}));
  }

  #ended(session: number): void {
    const left = this.#bySession.get(session)! - 1;
    if (left > 0) {
      this.#bySession.set(session, left);
      return;
    }
    this.#bySession.delete(session);
    const done = this.#waiting.filter((waiter) => waiter.session === session);
    if (done.length === 0) return;
    this.#waiting = this.#waiting.filter((waiter) => waiter.session !== session);
    for (const waiter of done) waiter.resolve();
  }

  /** The check alone, for what may end under a later map. */
  async admit(session: number, epoch: number): Promise<void> {
    while (this.#closed !== null) await this.#closed;
    const map = this.#map;
    if (map === null) throw new Refusal('Busy', 'no map yet');
    if (this.#fenced.has(session)) throw new Refusal('Fenced', `session ${session}`);
    if (epoch < map.epoch) throw new Refusal('StaleEpoch', String(map.epoch));
    if (epoch > map.epoch) throw new Refusal('BehindEpoch', String(map.epoch));
  }

  /**
   * Takes up a newer map, one at a time. `prepare` runs when nothing is under way and nothing can begin; if it rejects the
   * old map stays.
   */
  async obey(map: ClusterMap, prepare: (after: Surroundings) => Promise<void>): Promise<void> {
    let open = (): void => {};
    this.#closed = new Promise((resolve) => {
      open = resolve;
    });
    try {
      if (this.#running > 0) {
        await new Promise<void>((resolve) => {
          this.#drained = resolve;
        });
      }
      const after = this.#surroundings(map);
      await prepare(after);
      this.#map = map;
      this.#fenced = new Set(map.fenced);
      this.#around = after;
    } finally {
      this.#drained = null;
      this.#closed = null;
      open();
    }
  }

  /** Nothing passes any more; resolves when what had passed has ended. */
  async shut(): Promise<void> {
    while (this.#closed !== null) await this.#closed;
    this.#map = null;
    if (this.#running > 0) {
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    }
  }

  #surroundings(map: ClusterMap): Surroundings {
    for (const {id, slots} of map.groups) {
      const slot = slots.findIndex(({server}) => server?.uuid === this.#uuid);
      if (slot < 0) continue;
      const away = slots.flatMap(({state}, index) => (state === SLOT.away ? [index] : []));
      return {group: id, slots, slot, away};
    }
    return NOWHERE;
  }
}
