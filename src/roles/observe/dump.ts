import type {Traffic} from '../../core/base/traffic.js';
import type {Clock} from '../../core/env/clock.js';
import type {Log} from '../../core/env/log.js';
import {waitingRequests} from '../../core/transport/steer.js';

/** Lines of one dump. */
const LINES_MAX = 200;

/**
 * At SIGUSR1 the process logs which requests wait: one event for each, the oldest first. With a listener of our own Node does not open its
 * debugger at this signal. `kernelName`: of a mount, whose kernel asks.
 */
export function dumpAtSignal(
  log: Log,
  {clock, traffic}: {clock: Clock; traffic?: Traffic},
  kernelName: ((opcode: number) => string) | null = null,
): void {
  process.on('SIGUSR1', () => {
    if (traffic === undefined) return;
    const now = clock.now();
    const {waiting, total} = waitingRequests(traffic, now);
    const kernel = [...traffic.kernel.waiting()].map(({kind, since}) => ({
      operation: kernelName?.(kind) ?? String(kind),
      peer: 'kernel',
      own: false,
      ms: Math.round(now - since),
    }));
    const all = [...kernel, ...waiting].sort((a, b) => b.ms - a.ms);
    log.warn('waiting.dump', {requests: total + kernel.length});
    for (const {operation, peer, own, ms} of all.slice(0, LINES_MAX))
      log.warn('waiting.request', {operation, peer, own, ms});
  });
}
