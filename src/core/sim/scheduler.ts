import type {Ms} from '../base/ids.js';
import type {Timer} from '../env/clock.js';
import {labelHash} from './random.js';

/**
 * Runs `run` when every promise that is settled now, and every one that this settles, has called its reactions.
 * In Node: `(run) => queueMicrotask(() => process.nextTick(run))`, which drains the microtasks in between.
 */
export type Defer = (run: () => void) => void;

/** A world that broke: a failed check, a deadlock, a limit. */
export class SimFailure extends Error {
  override readonly name = 'SimFailure';
}

interface Event {
  at: Ms;
  sequence: number;
  owner: Actor | null;
  tag: string;
  /** Null when it was cancelled. */
  fire: (() => void) | null;
}

/**
 * One life of a simulated process. What it has scheduled waits while it is frozen and never happens once it is
 * dead; so the code of a dead process, though it is still in memory, does nothing any more.
 */
export class Actor {
  #state: 'running' | 'frozen' | 'dead' = 'running';
  readonly #onDeath: (() => void)[] = [];
  readonly backlog: Event[] = [];

  constructor(
    readonly name: string,
    readonly index: number,
  ) {}

  get state(): 'running' | 'frozen' | 'dead' {
    return this.#state;
  }

  get dead(): boolean {
    return this.#state === 'dead';
  }

  onDeath(run: () => void): void {
    this.#onDeath.push(run);
  }

  freeze(): void {
    if (this.#state === 'running') this.#state = 'frozen';
  }

  /** Use Scheduler.thaw, which also runs what has waited. */
  thaw(): void {
    if (this.#state === 'frozen') this.#state = 'running';
  }

  kill(): void {
    if (this.#state === 'dead') return;
    this.#state = 'dead';
    this.backlog.length = 0;
    for (const run of this.#onDeath.splice(0)) run();
  }
}

export interface Limits {
  /** Events that a run may take. */
  events: number;
  /** Virtual milliseconds that a run may take. */
  time: Ms;
}

const before = (a: Event, b: Event): boolean =>
  a.at < b.at || (a.at === b.at && a.sequence < b.sequence);

/**
 * Virtual time. Events run one at a time, in the order of their time and, at the same time, of their making;
 * between two of them all promises are drained. One run's digest tells whether another one took the same path.
 */
export class Scheduler {
  readonly #defer: Defer;
  readonly #heap: Event[] = [];
  #soon: Event[] = [];
  #soonHead = 0;
  #now: Ms = 0;
  #sequence = 0;
  #events = 0;
  #digest = 0x811c9dc5;
  #failure: unknown = null;

  constructor(defer: Defer) {
    this.#defer = defer;
  }

  get now(): Ms {
    return this.#now;
  }

  get events(): number {
    return this.#events;
  }

  /** Eight hex digits over every event so far. */
  get digest(): string {
    return (this.#digest >>> 0).toString(16).padStart(8, '0');
  }

  /** Folds something that happened into the digest. */
  mix(value: number): void {
    this.#digest = Math.imul(this.#digest ^ (value | 0), 0x01000193);
    this.#digest ^= this.#digest >>> 13;
  }

  /** `tag` must be a constant: it goes into the digest. */
  schedule(owner: Actor | null, delay: Ms, tag: string, fire: () => void): Timer {
    const event = this.#event(owner, this.#now + Math.max(0, delay), tag, fire);
    this.#push(event);
    return {
      cancel: () => {
        event.fire = null;
      },
    };
  }

  /** After the current event and its promises, before any other. */
  soon(owner: Actor | null, tag: string, fire: () => void): void {
    this.#soon.push(this.#event(owner, this.#now, tag, fire));
  }

  thaw(actor: Actor): void {
    actor.thaw();
    for (const event of actor.backlog.splice(0)) {
      event.at = this.#now;
      this.#soon.push(event);
    }
  }

  /** Makes the run fail after the current event. For checkers, and for what nobody caught. */
  fail(error: unknown): void {
    this.#failure ??= error;
  }

  /** Runs until `done`; throws SimFailure when nothing is left to happen or a limit is reached, or what an event threw. */
  run(done: () => boolean, limits: Limits): Promise<void> {
    const eventsMax = this.#events + limits.events;
    const end = this.#now + limits.time;
    return new Promise((resolve, reject) => {
      const step = (): void => {
        try {
          if (this.#failure !== null) throw this.#failure;
          if (done()) {
            resolve();
            return;
          }
          if (this.#events >= eventsMax)
            throw new SimFailure(`no end after ${limits.events} events`);
          const event = this.#take();
          if (event === null) throw new SimFailure('deadlock: nothing left to happen');
          if (event.at > end) throw new SimFailure(`no end after ${limits.time} virtual ms`);
          this.#execute(event);
        } catch (error) {
          reject(error);
          return;
        }
        this.#defer(step);
      };
      this.#defer(step);
    });
  }

  #execute(event: Event): void {
    this.#now = Math.max(this.#now, event.at);
    const {owner, fire} = event;
    if (fire === null || owner?.dead) return;
    if (owner?.state === 'frozen') {
      owner.backlog.push(event);
      return;
    }
    this.#events++;
    this.mix(Math.round(event.at * 1000));
    this.mix(labelHash(event.tag) + (owner?.index ?? 0));
    event.fire = null;
    fire();
  }

  #event(owner: Actor | null, at: Ms, tag: string, fire: () => void): Event {
    return {at, sequence: this.#sequence++, owner, tag, fire};
  }

  #take(): Event | null {
    const soon = this.#soon[this.#soonHead];
    if (soon !== undefined) {
      this.#soonHead++;
      if (this.#soonHead === this.#soon.length) {
        this.#soon = [];
        this.#soonHead = 0;
      }
      return soon;
    }
    while (this.#heap.length > 0) {
      const event = this.#pop();
      if (event.fire !== null && !event.owner?.dead) return event;
    }
    return null;
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): Event {
    const heap = this.#heap;
    const top = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return top;
  }
}
