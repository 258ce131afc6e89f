import {Lost, messageOf, Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Timer} from '../env/clock.js';
import type {Coordinator} from '../env/coordinator.js';
import type {Disk} from '../env/disk.js';
import type {Random} from '../env/random.js';
import {type ElectedReign, Election} from './election.js';
import {noteLife} from './machine-life.js';
import type {MetaEnv} from './parts.js';
import {MetaServer, type MetaServerOptions} from './server.js';
import {Standby} from './standby.js';
import {StandbyDoor} from './standby-door.js';
import type {Member} from './standbys.js';

const NODE_PATH = 'node';
/** While nobody is active it looks so often. */
const LOOK_MS: Ms = 100;
/** While somebody is: the watch tells sooner. */
const REST_MS: Ms = 1_000;

export interface MetaNodeOptions extends Omit<MetaServerOptions, 'reign' | 'ledger'> {
  coordinator: Coordinator;
  /** Of the cluster's keys in the coordinator. */
  prefix: string;
  /** So long after its last sign of life an active server is not it any more. */
  ttlMs: Ms;
  /** It may begin the first reign of all; else it waits for one to copy. */
  founder: boolean;
}

/** The id of a folder, which it keeps for ever. */
export async function nodeId(disk: Disk, random: Random): Promise<string> {
  const found = await disk.readFile(NODE_PATH);
  if (found !== null) return Buffer.from(found).toString('latin1');
  const id = random.hex(16);
  await disk.writeFile(NODE_PATH, Buffer.from(id, 'latin1'));
  return id;
}

/**
 * One of several meta servers: a standby until the coordinator lets it be the active one, and again when its reign is over. Clients find the
 * active one by asking any of them.
 */
export class MetaNode {
  readonly #env: MetaEnv;
  readonly #options: MetaNodeOptions;
  #self: Member = {node: '', life: ''};
  #election!: Election;
  /** One of them is there at a time. */
  #standby: Standby | null = null;
  #server: MetaServer | null = null;
  #reign: ElectedReign | null = null;
  #door: StandbyDoor | null = null;
  /** Of the active one, as far as is known. */
  #activeAddress = '';
  #timer: Timer | null = null;
  #looking = false;
  #again = false;
  #term = 0;
  #stopped = false;
  /** host:port; the port is chosen once. */
  #address: string;
  /** What it is becoming; the next change waits for it. */
  #work: Promise<void> = Promise.resolve();

  constructor(env: MetaEnv, options: MetaNodeOptions) {
    this.#env = env;
    this.#options = options;
    this.#address = options.address;
  }

  get role(): 'active' | 'standby' {
    return this.#server === null ? 'standby' : 'active';
  }

  get address(): string {
    return this.#address;
  }

  /** The active server; null: it is not. */
  get server(): MetaServer | null {
    return this.#server;
  }

  /** Listens, and takes part. FsError EBUSY: the address is taken; EIO: the folder is damaged. */
  async start(): Promise<void> {
    const {disk, random} = this.#env;
    this.#self = {node: await nodeId(disk, random), life: await disk.machineLife()};
    await this.#stand();
    const {coordinator, prefix, ttlMs, founder} = this.#options;
    const options = {prefix, ttlMs, founder, self: this.#self, address: this.#address};
    this.#election = new Election(this.#env, coordinator, options, () => this.#wake());
    this.#wake();
  }

  async #stand(): Promise<void> {
    this.#standby = new Standby(this.#env, {
      self: this.#self,
      address: this.#address,
      cluster: this.#options.clusterId ?? '',
      release: this.#options.release ?? '',
      onFailed: (error) => this.#fail(error),
      term: (term) => {
        if (term < this.#term) throw new Refusal('NotActive', `its term ${term} is over`);
        this.#term = term;
      },
    });
    await this.#standby.open();
    this.#door = new StandbyDoor(this.#env, () => this.#activeAddress);
    await this.#door.open(this.#address);
    this.#address = this.#door.address;
    this.#env.log.info('meta.stands-by', {address: this.#address, last: this.#standby.sequence});
  }

  /** Looks now, and again when that is over if something has happened meanwhile. */
  #wake(): void {
    if (this.#stopped || this.#server !== null) return;
    if (this.#looking) {
      this.#again = true;
      return;
    }
    this.#timer?.cancel();
    this.#looking = true;
    this.#again = false;
    const done = this.#work.then(() => this.#look());
    this.#work = done.then(
      (restMs) => this.#rest(restMs),
      (error: unknown) => {
        if (!(error instanceof Lost)) this.#fail(error);
        else this.#env.log.debug('election.unknown', {reason: messageOf(error)});
        this.#rest(LOOK_MS);
      },
    );
  }

  #rest(ms: Ms): void {
    this.#looking = false;
    if (this.#stopped || this.#server !== null) return;
    if (this.#again) this.#wake();
    else this.#timer = this.#env.clock.timer(ms, () => this.#wake());
  }

  /** Who is active? If nobody is, it may be this one. After how long to look again. */
  async #look(): Promise<Ms> {
    if (this.#stopped) return REST_MS;
    const standby = this.#standby!;
    const active = await this.#election.active();
    this.#activeAddress = active?.address ?? '';
    if (active !== null) {
      // Its own earlier life: that ends with its lease.
      if (active.node !== this.#self.node) standby.follow(active.address);
      return REST_MS;
    }
    // What is not whole is of no use, unless there has never been anything.
    if (standby.ledger === null) return LOOK_MS;
    const verdict = await this.#election.campaign();
    if ('reign' in verdict) await this.#reigns(verdict.reign);
    else this.#env.log.debug('election.not', {why: verdict.why});
    return LOOK_MS;
  }

  async #reigns(reign: ElectedReign): Promise<void> {
    const standby = this.#standby!;
    this.#reign = reign;
    reign.deposed = (error) => this.#deposed(error);
    const ledger = await standby.promote();
    await this.#door!.close();
    // Nothing that anybody was told is missing, whatever happened to this machine before.
    if (reign.whole) await noteLife(this.#env);
    this.#term = reign.term;
    this.#standby = null;
    this.#door = null;
    const server = new MetaServer(this.#env, {
      ...this.#options,
      address: this.#address,
      reign,
      ...(ledger === null ? {} : {ledger}),
    });
    this.#server = server;
    await server.start();
    this.#activeAddress = this.#address;
  }

  /** Goes back to being a standby: what was not told to anybody may be cut off. */
  #deposed(error: unknown): void {
    this.#env.log.warn('meta.deposed', {term: this.#term, reason: messageOf(error)});
    this.#work = this.#work.then(async () => {
      if (this.#stopped) return;
      await this.#server?.stop(true);
      this.#server = null;
      this.#reign = null;
      await this.#stand();
      this.#wake();
    });
    this.#work.catch((failure: unknown) => this.#fail(failure));
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#work;
    await this.#server?.stop();
    await this.#reign?.end();
    await this.#door?.close();
    await this.#standby?.close();
    this.#election.close();
  }

  #fail(error: unknown): void {
    if (!this.#stopped) this.#options.onFailed(error);
  }
}
