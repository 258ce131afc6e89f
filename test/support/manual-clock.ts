import type {Ms} from '../../src/core/base/ids.js';
import type {Clock, Timer} from '../../src/core/env/clock.js';

interface Alarm {
  at: Ms;
  fire: () => void;
}

/** Time that passes only when a test says so. */
export class ManualClock implements Clock {
  readonly #alarms = new Set<Alarm>();
  #now: Ms = 1000;

  wall(): Ms {
    return 1_700_000_000_000 + this.#now;
  }

  now(): Ms {
    return this.#now;
  }

  timer(delay: Ms, fire: () => void): Timer {
    const alarm = {at: this.#now + delay, fire};
    this.#alarms.add(alarm);
    return {cancel: () => void this.#alarms.delete(alarm)};
  }

  soon(run: () => void): void {
    queueMicrotask(run);
  }

  /** Timers that have not fired: 0 when nothing was left behind. */
  get timers(): number {
    return this.#alarms.size;
  }

  /** Lets time pass: timers fire in order, each followed by the promises that it settled. */
  async advance(ms: Ms): Promise<void> {
    const until = this.#now + ms;
    await settled();
    for (;;) {
      const due = [...this.#alarms].filter((alarm) => alarm.at <= until);
      const next = due.sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#alarms.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.fire();
      await settled();
    }
    this.#now = until;
  }
}

/** All promises that can go on without time or network have done so. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
