import type {Ms} from '../base/ids.js';
import type {Fullness} from './full-disks.js';
import {META_REST_MS, MetaFaults} from './meta-faults.js';
import type {Operator} from './operator.js';
import type {SeededRandom} from './random.js';
import type {FaultKind, WorldShape} from './swarm.js';

/** From whom a meta server is cut off: `users` are data servers and clients. */
export type MetaCut = 'coordinator' | 'metas' | 'both' | 'users';

/** Meta servers, numbered from 0, and what decides which one is active. */
export interface MetaVictims {
  readonly count: number;
  /** Which one is active; -1: none is. */
  readonly active: number;
  /** When the active one is gone another one goes on. */
  readonly takesOver: boolean;
  kill(index: number, power: boolean): void;
  start(index: number): void;
  freeze(index: number): void;
  thaw(index: number): void;
  /** Until `healPartitions`. */
  cut(index: number, from: MetaCut): void;
  coordinatorDown(down: boolean): void;
}

/** What faults are done to. Data servers and clients are numbered from 0. */
export interface Victims {
  readonly shape: WorldShape;
  readonly operator: Operator;
  killData(index: number, power: boolean): void;
  startData(index: number): void;
  wipeData(index: number): void;
  freezeData(index: number): void;
  thawData(index: number): void;
  /** Asks that it be drained. */
  drainData(index: number): Promise<void>;
  /** Has it its slot, and lacks something? */
  dataRecovers(index: number): Promise<boolean>;
  /** Its disk cannot read columns (or only one of them), or do anything with it, until it is told otherwise. */
  spoilData(index: number, what: 'reads' | 'all', one: boolean): void;
  unspoilData(index: number): void;
  /** Is it whole: in its slot, with everything that it missed? */
  dataReady(index: number): Promise<boolean>;
  readonly metas: MetaVictims;
  killClient(index: number): void;
  startClient(index: number): Promise<void>;
  freezeClient(index: number): void;
  thawClient(index: number): void;
  /** Nothing passes between the two for a while; names of machines. */
  /** Others fill its disk, so that hardly anything is left, or only the reserve. */
  fill(who: number | 'meta', how: Fullness): void;
  relieve(who: number | 'meta'): void;
  /** Does nothing wait for recovery? */
  settled(): Promise<boolean>;
  partition(a: string, b: string): void;
  healPartitions(): void;
  reset(): void;
  /** Turns a bit over in a column of the data server; false if it has none. */
  flip(index: number): boolean;
  pause(ms: Ms): Promise<void>;
  note(line: string): void;
}

/** A holder that does not say its sizes within 2 s is not waited for (docs, "Leases"): so no client freezes longer. */
const CLIENT_FREEZE_MS_MAX: Ms = 1800;
/** The session's timeout, its fence, and the resync of a few chunks. */
const RESYNC_MS: Ms = 30_000;
const READY_POLL_MS: Ms = 250;
/** Shorter than what a quick recovery takes. */
const RECOVERS_POLL_MS: Ms = 20;
const RECOVERY_PAUSE_MS_MAX: Ms = 15_000;
const AGAIN_CHANCE = 0.6;
const AGAIN_MS_MAX: Ms = 8000;
/** By now the meta server knows that a connection was closed, and the server has dialled again. */
const NOTICED_MS: Ms = 2500;
/** What was written without a server counts on the others until it is synced (5 s), else its fsync may be EIO. */
const SYNCED_MS: Ms = 6500;
/** By now it has noticed that a server says nothing (4 s). */
const SILENT_MS: Ms = 6000;

/**
 * Does what the shape allows, at random times, until it is told to stop; then everything it broke is put right.
 * Never more than m servers are down or not yet whole at a time.
 */
export class FaultScript {
  readonly #victims: Victims;
  readonly #random: SeededRandom;
  /** Data servers that may lack something. */
  readonly #hurt = new Set<number>();
  /** Of those the ones that lack nothing but space. */
  readonly #full = new Set<number>();
  readonly #busyClients = new Set<number>();
  #holes = 0;
  #flipped: number | null = null;
  readonly #metas: MetaFaults;
  #stopped = false;
  readonly #running = new Set<Promise<void>>();

  constructor(victims: Victims, random: SeededRandom) {
    this.#victims = victims;
    this.#random = random;
    this.#metas = new MetaFaults(victims, random);
  }

  async run(): Promise<void> {
    const {shape} = this.#victims;
    const drains = shape.spares > 0 && shape.drains ? this.#drains() : null;
    const fulls = shape.fulls ? this.#fulls() : null;
    const pauses = shape.seconds ? this.#pauses() : null;
    await this.#faults();
    await drains;
    await fulls;
    await pauses;
  }

  async #pauses(): Promise<void> {
    const victims = this.#victims;
    const random = this.#random.split('pauses');
    while (!this.#stopped) {
      await victims.pause(random.float() * 3000);
      victims.note('recovery waits');
      await victims.operator.pauseRecovery(true);
      await victims.pause(random.float() * RECOVERY_PAUSE_MS_MAX);
      victims.note('recovery goes on');
      while (!(await victims.operator.pauseRecovery(false))) await victims.pause(READY_POLL_MS);
    }
  }

  /** Lost again while it recovers; its disk, too, now and then. */
  async #again(index: number): Promise<void> {
    const victims = this.#victims;
    while (this.#random.chance(AGAIN_CHANCE)) {
      for (;;) {
        if (await victims.dataRecovers(index)) break;
        if (await victims.dataReady(index)) return;
        await victims.pause(RECOVERS_POLL_MS);
      }
      const wiped = this.#random.chance(0.2);
      const away = this.#random.float() * AGAIN_MS_MAX;
      victims.note(`data server ${index} is ${wiped ? 'wiped' : 'killed'} while it recovers`);
      victims.killData(index, false);
      if (wiped) victims.wipeData(index);
      await victims.pause(away);
      victims.startData(index);
      await victims.pause(NOTICED_MS);
    }
  }

  async #fulls(): Promise<void> {
    const random = this.#random.split('fulls');
    const {shape} = this.#victims;
    while (!this.#stopped) {
      await this.#victims.pause(random.float() * 3 * shape.faultGapMs);
      if (this.#stopped) break;
      const what = random.pick(['one', 'one', 'all', 'meta'] as const);
      const how = random.pick(['reserve', 'reserve', 'nothing'] as const);
      const ms = random.float() * random.pick([1000, 6000, 25_000]);
      if (what === 'one') await this.#fullOne(how, ms, random);
      else if (what === 'all') await this.#fullAll(how, ms);
      else await this.#metas.full(how, ms);
    }
  }

  /** It may die while it is full: what it could not take the others have. */
  async #fullOne(how: Fullness, ms: Ms, random: SeededRandom): Promise<void> {
    const victims = this.#victims;
    const index = random.below(this.#servers);
    if (this.#hurt.size > 0 || this.#holes > 0) return;
    // Until what a failed write left has been compared, it is the write hole: no other server may be missing.
    this.#holes++;
    this.#hurt.add(index);
    this.#full.add(index);
    victims.note(`the disk of data server ${index} has room for ${how}`);
    victims.fill(index, how);
    const dies = random.chance(0.4);
    await victims.pause(dies ? ms / 2 : ms);
    if (dies) {
      const power = random.chance(0.3);
      victims.note(`data server ${index} ${power ? 'loses power' : 'is killed'} while it is full`);
      this.#full.delete(index);
      victims.killData(index, power);
      await victims.pause(random.float() * 3000);
      victims.startData(index);
      await victims.pause(Math.max(power ? SILENT_MS : NOTICED_MS, ms / 2));
    }
    await this.#relieved([index]);
    this.#holes--;
  }

  async #fullAll(how: Fullness, ms: Ms): Promise<void> {
    if (this.#hurt.size > 0 || this.#holes > 0) return;
    const victims = this.#victims;
    const all = Array.from({length: this.#servers}, (_, index) => index);
    victims.note(`the disks of all data servers have room for ${how}`);
    for (const index of all) {
      this.#hurt.add(index);
      this.#full.add(index);
      victims.fill(index, how);
    }
    await victims.pause(ms);
    await this.#relieved(all);
  }

  async #relieved(all: readonly number[]): Promise<void> {
    const victims = this.#victims;
    victims.note(`there is space again on ${all.join()}`);
    for (const index of all) victims.relieve(index);
    await victims.pause(NOTICED_MS);
    while (!(await victims.settled())) await victims.pause(READY_POLL_MS);
    await Promise.all(all.map((index) => this.#whole(index)));
    for (const index of all) this.#full.delete(index);
  }

  async #drains(): Promise<void> {
    // A stream of their own: other worlds stay what they were.
    const random = this.#random.split('drains');
    const {shape} = this.#victims;
    while (!this.#stopped) {
      await this.#victims.pause(random.float() * 3 * shape.faultGapMs);
      if (this.#stopped) break;
      await this.#drain(random);
    }
  }

  /** Of a server that is whole; it is killed now and then while it is copied. */
  async #drain(random: SeededRandom): Promise<void> {
    const victims = this.#victims;
    const {servers, spares, scheme} = victims.shape;
    const index = random.below(servers + spares);
    if (this.#hurt.size >= scheme.m || this.#holes > 0 || this.#hurt.has(index)) return;
    this.#hurt.add(index);
    victims.note(`data server ${index} is drained`);
    await victims.drainData(index);
    await victims.pause(random.float() * random.pick([100, 1000, 5000]));
    if (random.chance(0.3)) {
      victims.note(`data server ${index} is killed while it is copied`);
      victims.killData(index, false);
      await victims.pause(random.float() * 3000);
      victims.startData(index);
      await victims.pause(NOTICED_MS);
    }
    await this.#whole(index);
  }

  async #faults(): Promise<void> {
    const {shape} = this.#victims;
    if (shape.faults.length === 0) return;
    while (!this.#stopped) {
      await this.#victims.pause(this.#random.float() * 2 * shape.faultGapMs);
      if (this.#stopped) break;
      const kind = this.#random.pick(shape.faults);
      const story = this.#one(kind).finally(() => this.#running.delete(story));
      this.#running.add(story);
    }
    await Promise.all(this.#running);
  }

  stop(): void {
    this.#stopped = true;
  }

  async #one(kind: FaultKind): Promise<void> {
    switch (kind) {
      case 'data-kill':
      case 'data-power':
      case 'data-freeze':
      case 'data-wipe':
        return this.#data(kind);
      case 'data-eio':
        return this.#eio();
      case 'data-all':
        return this.#all();
      case 'meta-kill':
      case 'meta-power':
        return this.#metas.kill(kind === 'meta-power');
      case 'meta-freeze':
        return this.#metas.freeze();
      case 'meta-cut':
        return this.#metas.cut();
      case 'coordinator-away':
        return this.#metas.coordinator();
      case 'all-power':
        return this.#everything();
      case 'client-kill':
      case 'client-freeze':
        return this.#client(kind);
      case 'partition':
        return this.#partition();
      case 'reset':
        this.#victims.reset();
        return;
      case 'flip':
        this.#flip();
    }
  }

  /** A data server that is whole, if one more may be hurt. */
  #choose(): number | null {
    const {shape} = this.#victims;
    if (this.#hurt.size >= shape.scheme.m || this.#holes > 0) return null;
    const index = this.#random.below(shape.servers + shape.spares);
    return this.#hurt.has(index) ? null : index;
  }

  async #data(kind: FaultKind): Promise<void> {
    const index = this.#choose();
    if (index === null) return;
    const victims = this.#victims;
    this.#hurt.add(index);
    const away = this.#duration();
    victims.note(`${kind} of data server ${index} for ${away.toFixed(0)} ms`);
    if (kind === 'data-freeze') {
      victims.freezeData(index);
      await victims.pause(away);
      victims.thawData(index);
    } else {
      victims.killData(index, kind === 'data-power');
      if (kind === 'data-wipe') victims.wipeData(index);
      await victims.pause(away);
      victims.startData(index);
    }
    const again = this.#victims.shape.seconds === true;
    if (again && kind !== 'data-freeze') await this.#again(index);
    await victims.pause(kind === 'data-power' || kind === 'data-freeze' ? SILENT_MS : NOTICED_MS);
    await this.#whole(index);
  }

  /** A disk has a bad place, or is bad for a while. A process that gives up because of it is started again. */
  async #eio(): Promise<void> {
    const index = this.#choose();
    if (index === null) return;
    const victims = this.#victims;
    this.#hurt.add(index);
    const what = this.#random.pick(['reads', 'reads', 'all'] as const);
    const one = this.#random.chance(0.5);
    victims.note(
      `the disk of data server ${index} fails ${what} of ${one ? 'a column' : 'columns'}`,
    );
    victims.spoilData(index, what, one);
    await victims.pause(this.#duration());
    victims.unspoilData(index);
    await victims.pause(SILENT_MS);
    await this.#whole(index);
  }

  /** All processes die at once; their machines stay up, so what reached the operating systems is there. */
  async #all(): Promise<void> {
    if (this.#hurt.size > 0 || this.#holes > 0) return;
    const victims = this.#victims;
    const all = Array.from({length: this.#servers}, (_, index) => index);
    victims.note('all data servers are killed');
    for (const index of all) {
      this.#hurt.add(index);
      victims.killData(index, false);
    }
    for (const index of all) {
      await victims.pause(this.#random.float() * 500);
      victims.startData(index);
    }
    await victims.pause(NOTICED_MS);
    await Promise.all(all.map((index) => this.#whole(index)));
  }

  async #whole(index: number): Promise<void> {
    while (!(await this.#victims.dataReady(index))) await this.#victims.pause(READY_POLL_MS);
    this.#victims.note(`data server ${index} is whole`);
    await this.#victims.pause(SYNCED_MS);
    this.#hurt.delete(index);
  }

  /** The lights go out: every server, and every client. */
  async #everything(): Promise<void> {
    if (this.#hurt.size > 0 || this.#holes > 0 || this.#metas.busy || this.#busyClients.size > 0)
      return;
    const victims = this.#victims;
    const {clients} = victims.shape;
    const datas = Array.from({length: this.#servers}, (_, index) => index);
    const users = Array.from({length: clients}, (_, index) => index);
    victims.note('everything loses power');
    this.#metas.busy = true;
    void this.#hole();
    for (const index of users) {
      this.#busyClients.add(index);
      victims.killClient(index);
    }
    for (const index of datas) {
      this.#hurt.add(index);
      victims.killData(index, true);
    }
    const metas = Array.from({length: victims.metas.count}, (_, index) => index);
    for (const index of metas) victims.metas.kill(index, true);
    const back = async (start: () => void): Promise<void> => {
      await victims.pause(this.#random.float() * 3000);
      start();
    };
    await Promise.all([
      ...metas.map((index) => back(() => victims.metas.start(index))),
      ...datas.map((index) => back(() => victims.startData(index))),
    ]);
    for (const index of users) await victims.startClient(index);
    for (const index of users) this.#busyClients.delete(index);
    await victims.pause(META_REST_MS);
    await Promise.all(datas.map((index) => this.#whole(index)));
    this.#metas.busy = false;
  }

  async #client(kind: FaultKind): Promise<void> {
    const victims = this.#victims;
    const index = this.#random.below(victims.shape.clients);
    if (
      this.#busyClients.has(index) ||
      (kind === 'client-kill' && this.#hurt.size > this.#full.size)
    )
      return;
    this.#busyClients.add(index);
    if (kind === 'client-freeze') {
      victims.note(`client ${index} is frozen`);
      victims.freezeClient(index);
      await victims.pause(this.#random.float() * CLIENT_FREEZE_MS_MAX);
      victims.thawClient(index);
    } else {
      victims.note(`client ${index} is killed`);
      void this.#hole();
      victims.killClient(index);
      await victims.pause(this.#random.float() * 2000);
      await victims.startClient(index);
    }
    this.#busyClients.delete(index);
  }

  /**
   * What a client had half written is redundant again only after the resync that follows its session's end (15 s). A
   * server that is lost before is the write hole, which no scheme promises to survive.
   */
  async #hole(): Promise<void> {
    this.#holes++;
    await this.#victims.pause(RESYNC_MS);
    this.#holes--;
  }

  /** Cuts a data server off from one client or from the meta server. */
  async #partition(): Promise<void> {
    const index = this.#choose();
    if (index === null) return;
    const {shape} = this.#victims;
    this.#hurt.add(index);
    const client = this.#random.below(shape.clients + 1);
    const other = client === shape.clients ? 'meta' : `client${client}`;
    this.#victims.note(`data server ${index} and ${other} do not hear each other`);
    this.#victims.partition(`data${index}`, other);
    await this.#victims.pause(this.#duration());
    this.#victims.healPartitions();
    await this.#victims.pause(SILENT_MS);
    await this.#whole(index);
  }

  /** Rot is on one server only, which from then on is never counted as whole. */
  #flip(): void {
    if (this.#flipped === null) {
      if (this.#hurt.size > 0) return;
      this.#flipped = this.#random.below(this.#victims.shape.servers);
      this.#hurt.add(this.#flipped);
    }
    if (this.#victims.flip(this.#flipped)) this.#victims.note(`a bit of ${this.#flipped} flips`);
  }

  get #servers(): number {
    const {servers, spares} = this.#victims.shape;
    return servers + spares;
  }

  #duration(): Ms {
    const longest = this.#random.pick([300, 3000, 12_000]);
    return this.#random.float() * longest;
  }
}
