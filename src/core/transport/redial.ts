import {FsError, Lost, messageOf, Refusal, Unproved} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {namesIn} from '../base/meta-names.js';
import type {Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';
import {Peer, type PeerOptions} from './peer.js';

const BACKOFF_MS_MIN: Ms = 50;
/** A server that comes back is found within a second. */
const BACKOFF_MS_MAX: Ms = 1000;
/** Who is not wanted most likely never will be. */
const REFUSED_MS_MAX: Ms = 5000;
const DIAL_MS_MAX: Ms = 3000;
/** The hello may wait for a server that is starting. */
const HELLO_MS_MAX: Ms = 10_000;
const PATIENCE_MAX = 16;
/** Names are looked up again so often at most; a lookup is waited for so long. */
const LOOKUP_AGAIN_MS: Ms = 2_000;
const LOOKUP_MS_MAX: Ms = 3_000;
/** Of what a name stands for. */
const ADDRESSES_MAX = 32;
/**
 * The same where another one may be the right one, as this one may be off or stopped: twice as long after each round in which nobody
 * has answered at all.
 */
const OTHERS: Patience = {dialMs: 300, helloMs: 700, backoffMsMax: 250};
const ALONE: Patience = {
  dialMs: DIAL_MS_MAX,
  helloMs: HELLO_MS_MAX,
  backoffMsMax: BACKOFF_MS_MAX,
};

/** How long is waited for one server. */
interface Patience {
  dialMs: Ms;
  helloMs: Ms;
  backoffMsMax: Ms;
}

export interface RedialOptions {
  /**
   * host:port; several, with commas between: one of them is the right one at any time, and says so. Or a name for them (base/meta-names.ts), which is looked up
   * at first, and again when none of them was the right one.
   */
  address: string;
  /** Of each connection; `onClosed` is used by Redial. */
  peer?: Omit<PeerOptions, 'onClosed'>;
  /**
   * Makes a fresh connection usable: sets its handlers before its first await, says hello. If it rejects, the
   * connection is closed and dialled again.
   */
  hello(peer: Peer): Promise<void>;
  onUp?(peer: Peer): void;
  /** After each `onUp`, once; `peer` is closed. */
  onDown?(peer: Peer, reason: string): void;
}

const notActive = (error: unknown): error is Refusal =>
  error instanceof Refusal && error.kind === 'NotActive';

interface Waiter {
  resolve(peer: Peer): void;
  reject(error: Error): void;
  timer: Timer;
}

/**
 * Keeps one connection to one address: dials, says hello, dials again when it is lost, until `close`.
 * Invariant: exactly one of these is going on: an attempt, a pause between two, a connection that is up; or closed.
 */
export class Redial {
  readonly address: string;
  readonly #env: Pick<Env, 'clock' | 'log' | 'net' | 'pool' | 'random' | 'release'>;
  readonly #options: RedialOptions;
  /** Empty: not looked up yet. */
  #addresses: readonly string[] = [];
  #lookAt: Ms = Number.NEGATIVE_INFINITY;
  readonly #waiters = new Set<Waiter>();
  /** The one that is tried, and how many others were since the last pause. */
  #at = 0;
  #tried = 0;
  /** Where the right one is said to be; followed once in a round. */
  #hint: string | null = null;
  #hinted = false;
  #dialled = '';
  /** Times `OTHERS`. */
  #patience = 1;
  /** Somebody has answered in this round. */
  #answered = false;
  #up: Peer | null = null;
  /** The connection that says hello. */
  #greeting: Peer | null = null;
  #pause: Timer | null = null;
  #backoffMs = BACKOFF_MS_MIN;
  #failure = 'not connected yet';
  /** The last attempt got a connection. */
  #reached = false;
  /** Of the last attempt, if none has succeeded since. */
  #lastFailure = '';
  /** Of the right one. */
  #refusal: Refusal | FsError | null = null;
  /** That was in this round. */
  #refused = false;
  /** Where the right one is, as who was tried last says; empty: it does not. */
  #elsewhere = '';
  #closed: string | null = null;

  constructor(
    env: Pick<Env, 'clock' | 'log' | 'net' | 'pool' | 'random' | 'release'>,
    options: RedialOptions,
  ) {
    this.#env = env;
    this.#options = options;
    this.address = options.address;
    void this.#attempt();
  }

  /** The connection that is up, or null. */
  get current(): Peer | null {
    return this.#up;
  }

  /** Is it one of several, as far as is known? */
  get several(): boolean {
    return this.#addresses.length > 1;
  }

  /** What the last attempt or connection ended with, for people. */
  get failure(): string {
    return this.#failure;
  }

  /**
   * The connection, at once or when it is up. After `deadlineMs` rejects: with what the other side refused the last
   * hello with, else with Lost.
   */
  peer(deadlineMs: Ms): Promise<Peer> {
    if (this.#up !== null) return Promise.resolve(this.#up);
    if (this.#closed !== null) return Promise.reject(new Lost(`${this.address}: ${this.#closed}`));
    return new Promise((resolve, reject) => {
      const timer = this.#env.clock.timer(deadlineMs, () => {
        this.#waiters.delete(waiter);
        reject(this.#refusal ?? new Lost(`${this.address}: ${this.#failure}`));
      });
      const waiter: Waiter = {resolve, reject, timer};
      this.#waiters.add(waiter);
    });
  }

  /** Closes what is up and dials no more. `onDown` is still called. */
  close(reason: string): void {
    if (this.#closed !== null) return;
    this.#closed = reason;
    this.#pause?.cancel();
    for (const waiter of this.#take()) waiter.reject(new Lost(`${this.address}: ${reason}`));
    this.#greeting?.close(reason);
    this.#up?.close(reason);
  }

  async #attempt(): Promise<void> {
    this.#pause = null;
    try {
      const lookup = this.#lookup();
      if (lookup !== null) await lookup;
      if (this.#closed !== null) return;
      const address = this.#hint ?? this.#addresses[this.#at]!;
      this.#dialled = address;
      this.#hint = null;
      const connection = await this.#env.net.connect(address, this.#limits.dialMs);
      // It is back: what goes wrong now has nothing to do with its absence.
      if (!this.#reached) this.#backoffMs = BACKOFF_MS_MIN;
      this.#reached = true;
      if (this.#closed !== null) {
        connection.close(this.#closed);
        return;
      }
      const peer: Peer = new Peer(this.#env, connection, {
        ...this.#options.peer,
        onClosed: (reason) => this.#down(peer, reason),
      });
      this.#greeting = peer;
      await this.#greet(peer);
      this.#greeting = null;
      // Lost while the hello was resolving: `down` knew it only as a greeting.
      if (peer.closed) throw new Lost(this.#failure);
      this.#rise(peer);
    } catch (error) {
      const failure = messageOf(error);
      if (this.#greeting === null) this.#reached = false;
      if (error instanceof Unproved && failure !== this.#lastFailure)
        this.#env.log.warn('redial.unproved', {address: this.#dialled, failure});
      // A log has it once.
      const known = failure === this.#lastFailure || this.#addresses.length > 1;
      this.#greeting?.close(`hello failed: ${failure}`, known);
      this.#greeting = null;
      this.#lastFailure = failure;
      this.#noted(error);
      this.#retry(failure);
    }
  }

  /** At the beginning of a round. Null: what the names stand for is known. */
  #lookup(): Promise<void> | null {
    const {clock, net} = this.#env;
    if (this.#tried > 0 || this.#hint !== null) return null;
    if (this.#addresses.length > 0 && clock.now() < this.#lookAt) return null;
    const found = net.resolve(this.address);
    if (found !== null) return this.#find(found);
    this.#addresses = namesIn(this.address);
    this.#lookAt = Number.POSITIVE_INFINITY;
    return null;
  }

  /** What was known is gone on with where nobody knows more. */
  async #find(found: Promise<string[]>): Promise<void> {
    const {clock, log} = this.#env;
    const late = new Promise<never>((_, reject) => {
      this.#pause = clock.timer(LOOKUP_MS_MAX, () => reject(new Lost('nobody knows where it is')));
    });
    try {
      const addresses = (await Promise.race([found, late])).slice(0, ADDRESSES_MAX);
      const changed = addresses.join() !== this.#addresses.join();
      if (changed) log.info('redial.found', {address: this.address, at: addresses.join()});
      this.#addresses = addresses;
      this.#at = 0;
    } catch (error) {
      if (this.#addresses.length === 0) throw error;
      log.debug('redial.not-found', {address: this.address, reason: messageOf(error)});
    } finally {
      this.#lookAt = clock.now() + LOOKUP_AGAIN_MS;
      this.#pause?.cancel();
      this.#pause = null;
    }
  }

  get #limits(): Patience {
    if (this.#addresses.length <= 1) return ALONE;
    return {
      dialMs: Math.min(OTHERS.dialMs * this.#patience, ALONE.dialMs),
      helloMs: Math.min(OTHERS.helloMs * this.#patience, ALONE.helloMs),
      backoffMsMax: Math.min(OTHERS.backoffMsMax * this.#patience, ALONE.backoffMsMax),
    };
  }

  async #greet(peer: Peer): Promise<void> {
    const timer = this.#env.clock.timer(this.#limits.helloMs, () =>
      peer.close('hello took too long'),
    );
    try {
      await this.#options.hello(peer);
    } finally {
      timer.cancel();
    }
  }

  #rise(peer: Peer): void {
    this.#up = peer;
    this.#backoffMs = BACKOFF_MS_MIN;
    this.#refusal = null;
    this.#lastFailure = '';
    this.#tried = 0;
    this.#hinted = false;
    this.#patience = 1;
    this.#at = Math.max(this.#addresses.indexOf(this.#dialled), 0);
    this.#env.log.info('redial.up', {address: this.address});
    this.#options.onUp?.(peer);
    for (const waiter of this.#take()) waiter.resolve(peer);
  }

  #down(peer: Peer, reason: string): void {
    this.#failure = reason;
    if (this.#up !== peer) return; // A greeting: its attempt fails by itself.
    this.#up = null;
    this.#env.log.info('redial.down', {address: this.address, reason});
    this.#options.onDown?.(peer, reason);
    this.#retry(reason);
  }

  /** What the right one says counts, whatever the others said after it. */
  #noted(error: unknown): void {
    const refused = error instanceof Refusal || error instanceof FsError;
    if (refused) this.#answered = true;
    this.#elsewhere = notActive(error) ? error.detail : '';
    if (refused && !notActive(error)) {
      this.#refusal = error;
      this.#refused = true;
    }
  }

  /** Is there one to be tried without a pause? Each once, and one hint: who gives it may know less than others. */
  #another(): boolean {
    const hint = this.#elsewhere;
    this.#elsewhere = '';
    if (hint !== '' && hint !== this.#dialled && !this.#hinted) {
      this.#hint = hint;
      this.#hinted = true;
      return true;
    }
    const count = Math.max(this.#addresses.length, 1);
    this.#at = (this.#at + 1) % count;
    if (++this.#tried < count) return true;
    this.#tried = 0;
    this.#hinted = false;
    this.#patience = this.#answered ? 1 : Math.min(this.#patience * 2, PATIENCE_MAX);
    this.#answered = false;
    if (!this.#refused) this.#refusal = null;
    this.#refused = false;
    return false;
  }

  /** The pause is drawn from the upper half of the backoff, so that many clients do not come back at once. */
  #retry(failure: string): void {
    this.#failure = failure;
    if (this.#closed !== null) return;
    if (this.#another()) {
      this.#pause = this.#env.clock.timer(0, () => void this.#attempt());
      return;
    }
    const pauseMs = this.#backoffMs * (0.5 + this.#env.random.float() / 2);
    this.#env.log.debug('redial.retry', {address: this.address, failure, pauseMs});
    const refused = this.#refusal instanceof Refusal && this.#refusal.kind === 'WrongServer';
    const most = refused ? REFUSED_MS_MAX : this.#limits.backoffMsMax;
    this.#backoffMs = Math.min(this.#backoffMs * 2, most);
    this.#pause = this.#env.clock.timer(pauseMs, () => void this.#attempt());
  }

  #take(): Waiter[] {
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const waiter of waiters) waiter.timer.cancel();
    return waiters;
  }
}
