import type {Clock} from '../../src/core/env/clock.js';

/** The machine's time, for tests and benchmarks over real sockets. */
export const realClock: Clock = {
  wall: () => Date.now(),
  now: () => performance.now(),
  timer(delay, fire) {
    const timer = setTimeout(fire, delay);
    return {cancel: () => clearTimeout(timer)};
  },
  soon: (run) => queueMicrotask(run),
};
