import {parseAddress} from '../base/address.js';
import type {Member} from '../base/coordinator-keys.js';
import {Lost, messageOf, Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {sleep, type Timer} from '../env/clock.js';
import type {Disk} from '../env/disk.js';
import type {Random} from '../env/random.js';
import type {NodeStatusReply} from '../protocol/gen/wire.js';
import {HeldPort} from '../transport/held-port.js';
import {forgetLife, noteLife} from './machine-life.js';
import {NODE_STATUS, nodeHandlers} from './node-handlers.js';
import type {MetaEnv} from './parts.js';
import {MetaServer, type MetaServerOptions} from './server.js';
import {Standby} from './standby.js';
import {StandbyDoor} from './standby-door.js';
import type {OwnReign, Succession, Verdict} from './succession.js';

const NODE_PATH = 'node';
/** While nobody is active it looks so often. */
const LOOK_MS: Ms = 100;
const TOLD_MS: Ms = 50;
/** So long an administrator's promotion waits for a lease that nobody holds any more. */
const BY_HAND_MS: Ms = 8_000;
/** While somebody is: the watch tells sooner. */
const REST_MS: Ms = 1_000;

export interface MetaNodeOptions extends Omit<MetaServerOptions, 'reign' | 'ledger'> {
  /** Where others reach it; null: where it listens. */
  advertise?: string | null;
  /** How it gets to be the active one; `address`: where others reach it; `changed`: it is worth a look. */
  succession(self: Member, address: string, changed: () => void): Promise<Succession>;
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
  #succession!: Succession;
  /** One of them is there at a time. */
  #standby: Standby | null = null;
  #server: MetaServer | null = null;
  #reign: OwnReign | null = null;
  /** Why it was not elected; empty: nothing was to be elected. */
  #why = '';
  #whyLogged = '';
  #door: StandbyDoor | null = null;
  /** Of the active one, as far as is known. */
  #activeAddress = '';
  #timer: Timer | null = null;
  #looking = false;
  #again = false;
  #term = 0;
  #stopped = false;
  /** It listens there as long as it lives. */
  #port: HeldPort | null = null;
  /** What it is becoming; the next change waits for it. */
  #work: Promise<void> = Promise.resolve();

  constructor(env: MetaEnv, options: MetaNodeOptions) {
    this.#env = env;
    this.#options = options;
  }

  /** host:port for others. */
  get #reached(): string {
    return this.#options.advertise ?? this.address;
  }

  /** Where others should go; who is followed may be a list. */
  get #hint(): string {
    return parseAddress(this.#activeAddress) === null ? '' : this.#activeAddress;
  }

  get role(): 'active' | 'standby' {
    return this.#server === null ? 'standby' : 'active';
  }

  get address(): string {
    return this.#port?.address ?? this.#options.address;
  }

  /** The active server; null: it is not. */
  get server(): MetaServer | null {
    return this.#server;
  }

  /** Listens, and takes part. FsError EBUSY: the address is taken; EIO: the folder is damaged. */
  async start(): Promise<void> {
    const {disk, random, net} = this.#env;
    this.#self = {node: await nodeId(disk, random), life: await disk.machineLife()};
    this.#port = await HeldPort.open(net, this.#options.address);
    await this.#stand();
    const changed = (): void => this.#wake();
    this.#succession = await this.#options.succession(this.#self, this.#reached, changed);
    this.#wake();
  }

  async #stand(): Promise<void> {
    const handlers = nodeHandlers(
      this.#env,
      () => this.status(),
      () => this.promote(),
    );
    this.#door = new StandbyDoor(this.#env, () => this.#hint, handlers);
    await this.#door.open(this.#port!);
    this.#standby = new Standby(this.#env, {
      self: this.#self,
      address: this.#reached,
      onFailed: (error) => this.#fail(error),
      term: (term) => {
        if (term < this.#term) throw new Refusal('NotActive', `its term ${term} is over`);
        this.#term = term;
      },
    });
    await this.#standby.open();
    this.#env.log.info('meta.stands-by', {address: this.address, last: this.#standby.sequence});
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
        else {
          this.#why = messageOf(error);
          this.#activeAddress = '';
          this.#env.log.debug('election.unknown', {reason: this.#why});
        }
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
    const active = await this.#succession.active();
    // Its own earlier life is of no use to anybody.
    this.#activeAddress = active?.node === this.#self.node ? '' : (active?.address ?? '');
    if (active !== null) {
      this.#why = '';
      // Its own earlier life: that ends with its lease.
      if (active.node !== this.#self.node) standby.follow(active.address);
      return REST_MS;
    }
    // What is not whole is of no use, unless there has never been anything.
    if (standby.ledger === null) {
      this.#why = 'it has no state that is whole';
      return LOOK_MS;
    }
    // From when it is elected nobody else need have what was answered.
    await standby.ledger.sync();
    const verdict = await this.#succession.campaign(this.#candidate(false));
    if ('reign' in verdict) {
      this.#why = '';
      await this.#reigns(verdict.reign);
    } else {
      this.#why = verdict.why;
      if (verdict.why !== this.#whyLogged) this.#env.log.warn('election.not', {why: verdict.why});
      this.#whyLogged = verdict.why;
    }
    return LOOK_MS;
  }

  #candidate(acceptLoss: boolean) {
    return {term: Math.max(this.#term, this.#standby?.ledger?.term ?? 0), acceptLoss};
  }

  /** Leases of those who are gone are waited for. */
  async #byHand(): Promise<Verdict> {
    const end = this.#env.clock.now() + BY_HAND_MS;
    for (;;) {
      const verdict = await this.#succession.campaign(this.#candidate(true));
      const waits = 'why' in verdict && verdict.passes === true && this.#env.clock.now() < end;
      if (!waits || this.#stopped) return verdict;
      await sleep(this.#env.clock, LOOK_MS);
    }
  }

  /** An administrator wants it to be the active one, whatever is lost. Resolves to why not; empty: it is. */
  promote(): Promise<string> {
    return new Promise((resolve, reject) => {
      const done = this.#work.then(async () => {
        if (this.#stopped || this.#server !== null) return resolve('it is not a standby any more');
        if (this.#standby!.ledger === null) return resolve('it has no state that is whole');
        const verdict = await this.#byHand().catch(reject);
        if (verdict === undefined) return;
        if ('why' in verdict) return resolve(verdict.why);
        resolve('');
        if (!verdict.reign.whole) await forgetLife(this.#env);
        // The answer leaves before the door is closed.
        await sleep(this.#env.clock, TOLD_MS);
        await this.#reigns(verdict.reign);
      });
      this.#work = done.catch((error: unknown) => this.#fail(error));
    });
  }

  status(): NodeStatusReply {
    const {how} = this.#succession;
    if (this.#server !== null) return {...this.#server.nodeStatus(), how};
    const standby = this.#standby;
    return {
      ...NODE_STATUS,
      ...{role: 'standby', node: this.#self.node, address: this.#reached, how},
      cluster: standby?.ledger?.cluster ?? '',
      release: this.#env.release?.name ?? '',
      term: this.#candidate(false).term,
      sequence: standby?.sequence ?? 0,
      active: this.#activeAddress,
      connected: standby?.connected ?? false,
      heardMs: Math.round(standby?.silentMs ?? 0),
      copies: standby?.copies ?? 0,
      why: this.#why,
      coordinatorAwayMs: Math.round(this.#succession.awayMs ?? 0),
      whole: standby?.ledger != null,
      inSync: standby?.inSync ?? false,
      durability: standby?.durability ?? '',
    };
  }

  async #reigns(reign: OwnReign): Promise<void> {
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
      address: this.address,
      port: this.#port!,
      how: this.#succession.how,
      reign,
      ...(ledger === null ? {} : {ledger}),
    });
    this.#server = server;
    await server.start();
    this.#activeAddress = this.#reached;
  }

  /** Goes back to being a standby: what was not told to anybody may be cut off. */
  #deposed(error: unknown): void {
    this.#why = messageOf(error);
    this.#env.log.warn('meta.deposed', {term: this.#term, reason: this.#why});
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
    await this.#port?.close();
    this.#succession.close();
  }

  #fail(error: unknown): void {
    if (!this.#stopped) this.#options.onFailed(error);
  }
}
