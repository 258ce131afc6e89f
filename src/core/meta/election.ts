import type {Durability} from '../base/durability.js';
import {FsError, Lost, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {sleep, type Timer} from '../env/clock.js';
import type {Coordinator, CoordinatorLease, Versioned} from '../env/coordinator.js';
import type {Env} from '../env/env.js';
import type {Member} from './standbys.js';
import type {ActiveServer, Candidate, OwnReign, Succession, Verdict} from './succession.js';

/** Clocks of good machines differ in rate by less. */
const RATE = 0.98;
/** Between a look at the clock and what is done then. */
const MARGIN_MS: Ms = 50;
const LOOK_MS: Ms = 50;
const AGAIN_MS: Ms = 100;
/** Renewals in the life of a lease. */
const RENEWALS = 5;
/** Who was active last, and lost power, waits so long for one who did not. */
const LAST_MS: Ms = 5_000;

/** What stays: who was active last, and who has everything that it answered. */
interface Standing {
  term: number;
  node: string;
  /** Of changes in this term; tells one's own from another's. */
  serial: number;
  inSync: readonly Member[];
  /** What an fsync of that term stands for; absent, of older releases: both. */
  durability?: Durability;
}

export interface ElectionOptions {
  /** Of its keys in the coordinator. */
  prefix: string;
  self: Member;
  /** Where clients reach it. */
  address: string;
  /** So long after its last sign of life a server is not the active one any more. */
  ttlMs: Ms;
  /** It may begin the first reign of all. */
  founder: boolean;
  durability: Durability;
}

const encode = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
const decode = <T>(found: Versioned | null): T | null =>
  found === null ? null : (JSON.parse(Buffer.from(found.value).toString('utf8')) as T);
/** What the coordinator refuses is not known either. */
const asked = <T>(call: Promise<T>): Promise<T> =>
  call.catch((error: unknown) => {
    throw error instanceof FsError ? new Lost(`coordinator: ${messageOf(error)}`) : error;
  });
const same = (a: Member, b: Member): boolean => a.node === b.node && a.life === b.life;

/**
 * Who is the active meta server, as the coordinator says (DESIGN.md 9). Whoever has everything that was answered may become it when
 * nobody is; each reign has a term of its own, and makes itself the only one that may until others have what it has.
 */
export class Election implements Succession {
  readonly how = 'coordinator';
  readonly #env: Pick<Env, 'clock' | 'log'>;
  readonly #coordinator: Coordinator;
  readonly #options: ElectionOptions;
  readonly #watch: {close(): void};
  /** Since when nobody is active. */
  #vacantAt: Ms | null = null;

  constructor(
    env: Pick<Env, 'clock' | 'log'>,
    coordinator: Coordinator,
    options: ElectionOptions,
    changed: () => void,
  ) {
    this.#env = env;
    this.#coordinator = coordinator;
    this.#options = options;
    this.#watch = coordinator.watch(this.#activeKey, changed);
  }

  get #activeKey(): string {
    return `${this.#options.prefix}/active`;
  }

  get #standingKey(): string {
    return `${this.#options.prefix}/standing`;
  }

  async active(): Promise<ActiveServer | null> {
    const active = decode<ActiveServer>(await asked(this.#coordinator.get(this.#activeKey)));
    if (active !== null) this.#vacantAt = null;
    else this.#vacantAt ??= this.#env.clock.now();
    return active;
  }

  async campaign(candidate: Candidate): Promise<Verdict> {
    const {self, address, ttlMs, durability} = this.#options;
    const found = await asked(this.#coordinator.get(this.#standingKey));
    const standing = decode<Standing>(found);
    const active = await this.active();
    if (active !== null) return {why: `${active.address} is active`};
    if (standing !== null && !candidate.acceptLoss && this.#lostMemory(standing))
      return this.#admit(standing, found!.revision);
    const why = candidate.acceptLoss ? null : this.#unfit(standing);
    if (why !== null) return {why};
    // The coordinator may have been set up anew since.
    const term = Math.max(standing?.term ?? 0, candidate.term) + 1;
    const next: Standing = {term, node: self.node, serial: 0, inSync: [self], durability};
    const askedAt = this.#env.clock.now();
    const lease = await asked(this.#coordinator.grant(ttlMs));
    const commit = this.#coordinator.commit(
      [
        {key: this.#activeKey, revision: 0},
        {key: this.#standingKey, revision: found?.revision ?? 0},
      ],
      [
        {key: this.#activeKey, value: encode({term, node: self.node, address}), lease},
        {key: this.#standingKey, value: encode(next)},
      ],
    );
    const revision = await asked(commit);
    if (revision === null) {
      await lease.revoke().catch(() => {});
      return {why: 'another one was faster'};
    }
    const whole = standing?.inSync.some((one) => same(one, self)) === true;
    this.#env.log.info('election.won', {term, whole});
    const keys = {active: this.#activeKey, standing: this.#standingKey};
    const reign = new ElectedReign(this.#env, this.#coordinator, lease, next, {
      keys,
      revision,
      validUntil: askedAt + lastsMs(lease.ttlMs),
      whole,
    });
    return {reign};
  }

  /** It is in the set, and has lost what it had in memory, which counted for an fsync. */
  #lostMemory({durability, inSync}: Standing): boolean {
    const {self} = this.#options;
    const before = inSync.some((one) => one.node === self.node && !same(one, self));
    return durability === 'memory' && before;
  }

  /** Takes itself out: whoever was active last waits for all others to have said so, or to have what it lacks. */
  async #admit(standing: Standing, revision: number): Promise<Verdict> {
    const {node} = this.#options.self;
    const inSync = standing.inSync.filter((one) => one.node !== node);
    const commit = this.#coordinator.commit(
      [
        {key: this.#activeKey, revision: 0},
        {key: this.#standingKey, revision},
      ],
      [{key: this.#standingKey, value: encode({...standing, inSync})}],
    );
    const done = (await asked(commit)) !== null;
    this.#env.log.warn('election.lost-memory', {term: standing.term, done});
    return {why: 'it has lost its power, and with it what it had in memory'};
  }

  /** Why it may not be the active one; null: it may. */
  #unfit(standing: Standing | null): string | null {
    const {self, founder} = this.#options;
    if (standing === null) return founder ? null : 'there has been no active server yet';
    if (standing.inSync.some((one) => same(one, self))) return null;
    const {node, inSync, durability} = standing;
    if (node !== self.node) {
      return durability === 'disk'
        ? 'the last active one answered without waiting for it (--durability disk)'
        : 'it lacks what others were told';
    }
    if (durability === 'memory' && inSync.length > 0)
      return 'it has lost its power, and waits for those who have in memory what it answered (--durability memory)';
    // Of what it had on its disk nothing is lost; but who did not lose power has more.
    const vacant = this.#env.clock.now() - (this.#vacantAt ?? this.#env.clock.now());
    return vacant < LAST_MS ? 'it waits for who did not lose power' : null;
  }

  close(): void {
    this.#watch.close();
  }
}

const lastsMs = (ttlMs: Ms): Ms => ttlMs * RATE - MARGIN_MS;

interface ReignOptions {
  keys: {active: string; standing: string};
  /** Of both keys. */
  revision: number;
  validUntil: Ms;
  whole: boolean;
}

/** A term of this server: valid for as long as it is certain that the coordinator gives it to nobody else. */
export class ElectedReign implements OwnReign {
  readonly term: number;
  readonly self: Member;
  readonly whole: boolean;
  readonly set = {change: (members: readonly Member[]): Promise<void> => this.#change(members)};
  readonly #env: Pick<Env, 'clock' | 'log'>;
  readonly #coordinator: Coordinator;
  readonly #lease: CoordinatorLease;
  readonly #keys: ReignOptions['keys'];
  readonly #activeRevision: number;
  #revision: number;
  #standing: Standing;
  #validUntil: Ms;
  #over = false;
  #timer: Timer | null = null;
  #renewedAt: Ms;
  deposed: (error: unknown) => void = () => {};

  constructor(
    env: Pick<Env, 'clock' | 'log'>,
    coordinator: Coordinator,
    lease: CoordinatorLease,
    standing: Standing,
    {keys, revision, validUntil, whole}: ReignOptions,
  ) {
    this.#env = env;
    this.#coordinator = coordinator;
    this.#lease = lease;
    this.#keys = keys;
    this.#activeRevision = revision;
    this.#revision = revision;
    this.#standing = standing;
    this.#validUntil = validUntil;
    this.#renewedAt = env.clock.now();
    this.whole = whole;
    this.term = standing.term;
    this.self = standing.inSync[0]!;
    this.#look();
  }

  get valid(): boolean {
    return !this.#over && this.#env.clock.now() < this.#validUntil;
  }

  onDeposed(error: unknown): void {
    if (this.#over) return;
    this.#over = true;
    this.#timer?.cancel();
    this.#env.log.error('reign.over', {term: this.term, reason: messageOf(error)});
    this.deposed(error);
  }

  #look(): void {
    this.#timer = this.#env.clock.timer(LOOK_MS, () => {
      if (this.#over) return;
      const {clock} = this.#env;
      if (!this.valid) {
        this.onDeposed(new Lost('its lease may be over: the coordinator did not answer in time'));
        return;
      }
      if (clock.now() - this.#renewedAt >= this.#lease.ttlMs / RENEWALS) this.#renew();
      this.#look();
    });
  }

  #renew(): void {
    const askedAt = this.#env.clock.now();
    this.#renewedAt = askedAt;
    this.#lease.keepAlive().then(
      (ms) => {
        this.#validUntil = Math.max(this.#validUntil, askedAt + lastsMs(ms));
      },
      (error: unknown) => {
        this.#env.log.debug('reign.not-renewed', {reason: messageOf(error)});
        if (error instanceof FsError) this.onDeposed(error);
      },
    );
  }

  /** Tried until it is certain, or the reign is over. */
  async #change(members: readonly Member[]): Promise<void> {
    const next = {...this.#standing, serial: this.#standing.serial + 1, inSync: [...members]};
    const {active, standing} = this.#keys;
    for (;;) {
      if (!this.valid) throw new Lost('the reign is over');
      try {
        const revision = await this.#coordinator.commit(
          [
            {key: active, revision: this.#activeRevision},
            {key: standing, revision: this.#revision},
          ],
          [{key: standing, value: encode(next)}],
        );
        if (revision === null && !(await this.#happened(next)))
          throw new FsError('ESTALE', 'another server is active');
        if (revision !== null) this.#revision = revision;
        this.#standing = next;
        return;
      } catch (error) {
        if (!(error instanceof Lost)) throw error;
        await sleep(this.#env.clock, AGAIN_MS);
      }
    }
  }

  /** An earlier try that nobody heard of. */
  async #happened({term, serial}: Standing): Promise<boolean> {
    const found = await this.#coordinator.get(this.#keys.standing);
    const there = decode<Standing>(found);
    if (there?.term !== term || there.serial !== serial) return false;
    this.#revision = found!.revision;
    return true;
  }

  async end(): Promise<void> {
    if (this.#over) return;
    this.#over = true;
    this.#timer?.cancel();
    await this.#lease.revoke().catch((error: unknown) => {
      this.#env.log.info('reign.not-ended', {reason: messageOf(error)});
    });
  }
}
