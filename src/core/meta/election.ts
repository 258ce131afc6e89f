import {
  type ActiveServer,
  activeKey,
  decodeActive,
  decodeEra,
  decodeStanding,
  encodeEra,
  encodeKey,
  eraKey,
  type Member,
  type Standing,
  standingKey,
} from '../base/coordinator-keys.js';
import type {Durability} from '../base/durability.js';
import {FsError, Lost, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {sleep, type Timer} from '../env/clock.js';
import type {Coordinator, CoordinatorLease} from '../env/coordinator.js';
import type {Env} from '../env/env.js';
import {CoordinatorContact} from './coordinator-contact.js';
import type {Candidate, OwnReign, Succession, Verdict} from './succession.js';

/** Clocks of good machines differ in rate by less. */
const RATE = 0.98;
/** Between a look at the clock and what is done then. */
const MARGIN_MS: Ms = 50;
const LOOK_MS: Ms = 50;
const AGAIN_MS: Ms = 100;
/** Renewals in the life of a lease: what is left of it when etcd loses its leader lasts until it has another one. */
const RENEWALS = 10;
/** Who was active last, and lost power, waits so long for one who did not. */
const LAST_MS: Ms = 5_000;

/** An administrator has accepted a loss: whoever counts on from what is lost stays below. */
const TERMS = 1_000;
/** Of a folder of a server that has seen this cluster led by a coordinator. */
const SEEN_PATH = 'coordinated';

const LEASE_OVER = 'its lease may be over: the coordinator did not answer in time';
export const FORGOTTEN =
  'the coordinator knows nothing of this cluster, which it has led before: its data is lost, or its prefix is another one; bring that back, or ' +
  "say 'cpfs meta promote HOST:PORT --accept-loss' to the meta server with the highest record";

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

const same = (a: Member, b: Member): boolean => a.node === b.node && a.life === b.life;

/**
 * Who is the active meta server, as the coordinator says (DESIGN.md 9). Whoever has everything that was answered may become it when
 * nobody is; each reign has a term of its own, and makes itself the only one that may until others have what it has.
 */
export class Election implements Succession {
  readonly how = 'coordinator';
  readonly #env: Pick<Env, 'clock' | 'disk' | 'log'>;
  readonly #coordinator: Coordinator;
  readonly #options: ElectionOptions;
  readonly #contact: CoordinatorContact;
  readonly #watch: {close(): void};
  /** Of the coordinator, when this last looked who is active. */
  #era = '';
  /** Since when nobody is active. */
  #vacantAt: Ms | null = null;
  /** The last one of this process. */
  #reign: ElectedReign | null = null;
  /** It is in the folder that a coordinator has led this cluster; null: not looked for yet. */
  #seen: boolean | null = null;

  constructor(
    env: Pick<Env, 'clock' | 'disk' | 'log'>,
    coordinator: Coordinator,
    options: ElectionOptions,
    changed: () => void,
  ) {
    this.#env = env;
    this.#coordinator = coordinator;
    this.#options = options;
    this.#contact = new CoordinatorContact(env);
    this.#watch = coordinator.watch(this.#activeKey, changed);
  }

  get #activeKey(): string {
    return activeKey(this.#options.prefix);
  }

  get #standingKey(): string {
    return standingKey(this.#options.prefix);
  }

  get awayMs(): Ms {
    return this.#contact.awayMs;
  }

  /** What the coordinator refuses is not known either. */
  async #asked<T>(call: Promise<T>): Promise<T> {
    try {
      const answer = await call;
      this.#contact.heard();
      return answer;
    } catch (error) {
      throw error instanceof FsError ? new Lost(`coordinator: ${messageOf(error)}`) : error;
    }
  }

  async active(): Promise<ActiveServer | null> {
    const looked = this.#asked(this.#coordinator.look(this.#activeKey));
    const {found, era} = await looked.catch((error) => {
      this.#contact.lost(messageOf(error), 0);
      throw error;
    });
    this.#era = era;
    const active = decodeActive(found);
    if (active !== null) await this.#sees();
    // Nobody serves in a reign of its own that is over: another one need not wait for the lease.
    if (active !== null && this.#reign?.isOver(found!.created) === true)
      await this.#asked(this.#reign.giveUp());
    else if (active !== null) {
      this.#vacantAt = null;
      return active;
    }
    this.#vacantAt ??= this.#env.clock.now();
    return null;
  }

  /** From now on this folder begins no history of its own. */
  async #sees(): Promise<void> {
    if (await this.#hasSeen()) return;
    await this.#env.disk.writeFile(SEEN_PATH, new Uint8Array(0));
    this.#seen = true;
  }

  async #hasSeen(): Promise<boolean> {
    this.#seen ??= (await this.#env.disk.readFile(SEEN_PATH)) !== null;
    return this.#seen;
  }

  async campaign(candidate: Candidate): Promise<Verdict> {
    const {self, address, ttlMs, durability} = this.#options;
    const found = await this.#asked(this.#coordinator.get(this.#standingKey));
    const standing = decodeStanding(found);
    if (standing !== null) await this.#sees();
    const active = await this.active();
    // At its own address: an earlier life, of a folder that may be gone.
    if (active !== null)
      return {why: `${active.address} is active`, passes: active.address === address};
    if (standing !== null && (await this.#mayReign(standing)))
      return {why: 'it waits until the last one does not reign any more, for sure', passes: true};
    if (standing !== null && !candidate.acceptLoss && this.#lostMemory(standing))
      return this.#admit(standing, found!.revision);
    const why = candidate.acceptLoss ? null : await this.#unfit(standing);
    if (why !== null) return {why};
    // The coordinator may have been set up anew since.
    const term = Math.max(standing?.term ?? 0, candidate.term) + (candidate.acceptLoss ? TERMS : 1);
    const next: Standing = {
      term,
      node: self.node,
      serial: 0,
      inSync: [{...self, address}],
      durability,
    };
    const askedAt = this.#env.clock.now();
    const lease = await this.#asked(this.#coordinator.grant(ttlMs, this.#activeKey));
    const commit = this.#coordinator.commit(
      [
        {key: this.#activeKey, revision: 0},
        {key: this.#standingKey, revision: found?.revision ?? 0},
      ],
      [
        {key: this.#activeKey, value: encodeKey({term, node: self.node, address}), lease},
        {key: this.#standingKey, value: encodeKey(next)},
        {key: eraKey(this.#options.prefix), value: encodeEra(lease.era)},
      ],
    );
    const revision = await this.#asked(commit).catch(async (error: unknown) => {
      // If it has happened, nobody waits for it.
      await lease.revoke().catch(() => {});
      throw error;
    });
    if (revision === null) {
      await lease.revoke().catch(() => {});
      return {why: 'another one was faster'};
    }
    await this.#sees();
    const whole = standing?.inSync.some((one) => same(one, self)) === true;
    this.#env.log.info('election.won', {term, whole});
    const keys = {
      active: this.#activeKey,
      standing: this.#standingKey,
      era: eraKey(this.#options.prefix),
    };
    const reign = new ElectedReign(this.#env, this.#coordinator, lease, next, {
      keys,
      active: {term, node: self.node, address},
      revision,
      validUntil: askedAt + lastsMs(lease.ttlMs),
      whole,
      contact: this.#contact,
    });
    this.#reign = reign;
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
      [{key: this.#standingKey, value: encodeKey({...standing, inSync})}],
    );
    const done = (await this.#asked(commit)) !== null;
    this.#env.log.warn('election.lost-memory', {term: standing.term, done});
    return {why: 'it has lost its power, and with it what it had in memory'};
  }

  /**
   * Nobody is active: but does the last one know? Its lease is over where one and the same leader of the coordinator has counted. One that led before it
   * may have revoked it at any time: then for as long as it may yet last.
   */
  async #mayReign({node}: Standing): Promise<boolean> {
    const {self, prefix, ttlMs} = this.#options;
    // Who asks is that one, and does not.
    if (node === self.node) return false;
    const era = decodeEra(await this.#asked(this.#coordinator.get(eraKey(prefix))));
    if (era === this.#era) return false;
    return this.#env.clock.now() - (this.#vacantAt ?? this.#env.clock.now()) < ttlMs;
  }

  /** Why it may not be the active one; null: it may. */
  async #unfit(standing: Standing | null): Promise<string | null> {
    const {self, founder} = this.#options;
    if (standing === null && (await this.#hasSeen())) return FORGOTTEN;
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
  keys: {active: string; standing: string; era: string};
  active: ActiveServer;
  /** Of both keys. */
  revision: number;
  validUntil: Ms;
  whole: boolean;
  contact: CoordinatorContact;
}

/** A term of this server: valid for as long as it is certain that the coordinator gives it to nobody else. */
export class ElectedReign implements OwnReign {
  readonly term: number;
  readonly self: Member;
  readonly whole: boolean;
  readonly set = {change: (members: readonly Member[]): Promise<void> => this.#change(members)};
  readonly #env: Pick<Env, 'clock' | 'log'>;
  readonly #coordinator: Coordinator;
  readonly #contact: CoordinatorContact;
  #lease: CoordinatorLease;
  readonly #keys: ReignOptions['keys'];
  readonly #active: ActiveServer;
  /** By which its key was created; it stays while this server reigns. */
  readonly #created: number;
  /** Grows with each lease. */
  #activeRevision: number;
  #revision: number;
  #standing: Standing;
  #validUntil: Ms;
  #over = false;
  #timer: Timer | null = null;
  /** When the renewal was asked for that is under way, or was the last; when the last one that came. */
  #askedAt: Ms;
  #renewedAt: Ms;
  #renewing = false;
  deposed: (error: unknown) => void = () => {};

  constructor(
    env: Pick<Env, 'clock' | 'log'>,
    coordinator: Coordinator,
    lease: CoordinatorLease,
    standing: Standing,
    {keys, active, revision, validUntil, whole, contact}: ReignOptions,
  ) {
    this.#env = env;
    this.#coordinator = coordinator;
    this.#contact = contact;
    this.#lease = lease;
    this.#keys = keys;
    this.#active = active;
    this.#created = revision;
    this.#activeRevision = revision;
    this.#revision = revision;
    this.#standing = standing;
    this.#validUntil = validUntil;
    this.#askedAt = env.clock.now();
    this.#renewedAt = this.#askedAt;
    this.whole = whole;
    this.term = standing.term;
    this.self = standing.inSync[0]!;
    this.#look();
  }

  get valid(): boolean {
    return this.validMs > 0;
  }

  get validMs(): Ms {
    return this.#over ? 0 : Math.max(0, this.#validUntil - this.#env.clock.now());
  }

  get awayMs(): Ms {
    return this.#contact.awayMs;
  }

  /** Is this its key, and nobody reigns by it any more? */
  isOver(created: number): boolean {
    return this.#over && created === this.#created;
  }

  giveUp(): Promise<void> {
    return this.#lease.revoke();
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
        this.onDeposed(new Lost(LEASE_OVER));
        return;
      }
      const everyMs = this.#lease.ttlMs / RENEWALS;
      if (clock.now() - this.#renewedAt > 2 * everyMs)
        this.#contact.lost('it renews no lease', this.validMs);
      const due = clock.now() - this.#askedAt >= everyMs;
      if (due && !this.#renewing) this.#renew();
      this.#look();
    });
  }

  #renew(): void {
    const askedAt = this.#env.clock.now();
    this.#askedAt = askedAt;
    this.#renewing = true;
    const renewed = this.#lease.keepAlive().catch((error: unknown) => {
      if (!(error instanceof FsError) || error.errno !== 'ESTALE') throw error;
      return this.#move();
    });
    renewed.then(
      (ms) => {
        this.#renewing = false;
        this.#contact.heard();
        if (ms === null) return;
        this.#renewedAt = this.#env.clock.now();
        this.#validUntil = Math.max(this.#validUntil, askedAt + lastsMs(ms));
      },
      (error: unknown) => {
        this.#renewing = false;
        this.#env.log.debug('reign.not-renewed', {reason: messageOf(error)});
        if (error instanceof FsError) this.onDeposed(error);
      },
    );
  }

  /** To a lease that nobody who led the coordinator before knows of. Null: not yet. FsError: the key is gone. */
  async #move(): Promise<Ms | null> {
    const {active, era} = this.#keys;
    const lease = await this.#coordinator.grant(this.#lease.ttlMs, active);
    const revision = await this.#coordinator.commit(
      [{key: active, revision: this.#activeRevision}],
      [
        {key: active, value: encodeKey(this.#active), lease},
        {key: era, value: encodeEra(lease.era)},
      ],
    );
    const last = revision === null ? lease : this.#lease;
    if (revision === null) {
      // An earlier try, of which nobody heard.
      const found = await this.#coordinator.get(active);
      if (found?.created !== this.#created) throw new FsError('ENOENT', 'its key is gone');
      this.#activeRevision = found.revision;
    } else {
      this.#env.log.info('reign.moved', {term: this.term, era: lease.era});
      this.#lease = lease;
      this.#activeRevision = revision;
    }
    last.revoke().catch(() => {});
    return revision === null ? null : lease.ttlMs;
  }

  /** Tried until it is certain, or the reign is over. */
  async #change(members: readonly Member[]): Promise<void> {
    const next = {...this.#standing, serial: this.#standing.serial + 1, inSync: [...members]};
    const {active, standing} = this.#keys;
    for (;;) {
      if (!this.valid) throw new Lost(LEASE_OVER);
      try {
        const revision = await this.#coordinator.commit(
          [
            {key: active, created: this.#created},
            {key: standing, revision: this.#revision},
          ],
          [{key: standing, value: encodeKey(next)}],
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
    const there = decodeStanding(found);
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
