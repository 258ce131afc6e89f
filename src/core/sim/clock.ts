import type {Ms} from '../base/ids.js';
import type {Clock, Timer} from '../env/clock.js';
import type {Actor, Scheduler} from './scheduler.js';

/** 2026-01-01, so that times in worlds look like times. */
const WALL_START: Ms = 1_767_225_600_000;

/** How one machine's clock differs from virtual time. */
export interface ClockShape {
  /** What `now` says at virtual time 0. */
  zero: Ms;
  /** Added to the wall clock; may change at any time. */
  skew: Ms;
  /** Local milliseconds per virtual one, about 1. */
  rate: number;
}

/** The clock of one life of a process. */
export class SimClock implements Clock {
  readonly #scheduler: Scheduler;
  readonly #actor: Actor;
  readonly #shape: ClockShape;

  constructor(scheduler: Scheduler, actor: Actor, shape: ClockShape) {
    this.#scheduler = scheduler;
    this.#actor = actor;
    this.#shape = shape;
  }

  wall(): Ms {
    return Math.floor(WALL_START + this.#scheduler.now + this.#shape.skew);
  }

  now(): Ms {
    return this.#shape.zero + this.#scheduler.now * this.#shape.rate;
  }

  timer(delay: Ms, fire: () => void): Timer {
    return this.#scheduler.schedule(this.#actor, delay / this.#shape.rate, 'timer', fire);
  }

  soon(run: () => void): void {
    this.#scheduler.soon(this.#actor, 'soon', run);
  }
}
