import type {SimLand} from '../../src/core/sim/machine.js';
import type {Defer} from '../../src/core/sim/scheduler.js';

/** The microtask runs all others first; the tick comes when none is left. */
export const defer: Defer = (run) => {
  queueMicrotask(() => process.nextTick(run));
};

/** Runs a story in a world until its promise is settled; throws what it threw, or SimFailure. */
export async function play<T>(
  land: SimLand,
  story: () => Promise<T>,
  limits = {events: 1_000_000, time: 3_600_000},
): Promise<T> {
  let outcome: {value: T} | {error: unknown} | null = null;
  story().then(
    (value) => {
      outcome = {value};
    },
    (error: unknown) => {
      outcome = {error};
    },
  );
  await land.scheduler.run(() => outcome !== null, limits);
  const settled = outcome as unknown as {value: T} | {error: unknown};
  if ('error' in settled) throw settled.error;
  return settled.value;
}
