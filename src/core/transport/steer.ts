import {FsError} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Requests, Traffic} from '../base/traffic.js';
import type {Env} from '../env/env.js';
import type {SteerReply, SteerRequest, WaitingRequest} from '../protocol/gen/wire.js';
import {opByCode} from '../protocol/ops.js';

/** Requests that one answer has at most: 100 bytes each. */
const WAITING_MAX = 1000;

/** `meta.lookup`: a request between processes. */
export const operationName = (code: number): string => opByCode.get(code)?.name ?? `op-${code}`;

/** The oldest of those that wait, and how many there are. */
export function waitingRequests(
  traffic: Traffic,
  now: Ms,
): {waiting: WaitingRequest[]; total: number} {
  const of = (requests: Requests, own: boolean): WaitingRequest[] =>
    [...requests.waiting()].map(({kind, peer, since}) => ({
      operation: operationName(kind),
      peer,
      own,
      ms: Math.max(0, Math.round(now - since)),
    }));
  const all = [...of(traffic.served, false), ...of(traffic.called, true)];
  const waiting = all.sort((a, b) => b.ms - a.ms).slice(0, WAITING_MAX);
  return {waiting, total: all.length};
}

/** An administrator asks one process. The request itself is none of those that wait. */
export function steer(
  {clock, log, steering, traffic}: Pick<Env, 'clock' | 'log' | 'steering' | 'traffic'>,
  {levels, forMs, waiting, stop}: SteerRequest,
): SteerReply {
  if (steering === undefined || traffic === undefined)
    throw new FsError('EOPNOTSUPP', 'nothing can be changed here');
  if (levels !== '') {
    if (!steering.setLevels(levels, forMs))
      throw new FsError('EINVAL', `'${levels}' is not LEVEL[,CATEGORY=LEVEL...]`);
    log.info('log.levels', {levels: steering.levels, forMs});
  }
  if (stop) steering.stop();
  const found = waiting ? waitingRequests(traffic, clock.now()) : {waiting: [], total: 0};
  const others = found.waiting.filter(({operation, own}) => own || operation !== 'steer');
  const total = found.total - (found.waiting.length - others.length);
  return {levels: steering.levels, revertsMs: steering.revertsMs, waiting: others, total};
}
