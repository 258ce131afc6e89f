import {performance} from 'node:perf_hooks';
import type {Clock, Timer} from '../env/clock.js';

/** The machine's clocks. Timers keep the process alive: a role ends by closing what it opened. */
export const systemClock: Clock = {
  wall: () => Date.now(),
  now: () => performance.now(),
  timer(delay, fire): Timer {
    const handle = setTimeout(fire, delay);
    return {cancel: () => clearTimeout(handle)};
  },
  soon: (run) => {
    setImmediate(run);
  },
};
