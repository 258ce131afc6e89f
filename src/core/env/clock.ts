import type {Ms} from '../base/ids.js';

export interface Timer {
  cancel(): void;
}

/** Time, and being woken. The simulated one jumps; nothing in core waits in any other way. */
export interface Clock {
  /** Wall clock in milliseconds since 1970; may jump. For timestamps that people see, never for durations. */
  wall(): Ms;
  /** Milliseconds that never go back; their zero means nothing. */
  now(): Ms;
  /** Calls `fire` once, not before `delay` ms from now, unless cancelled. */
  timer(delay: Ms, fire: () => void): Timer;
  /** Calls `run` after the current event and its promises, before any later timer. For batching per tick. */
  soon(run: () => void): void;
}

/** A promise of `delay` ms. */
export function sleep(clock: Clock, delay: Ms): Promise<void> {
  return new Promise((resolve) => clock.timer(delay, resolve));
}
