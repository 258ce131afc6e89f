import {MOVE, moveKindName, NO_TASK} from '../core/cluster/moves.js';
import {sleep} from '../core/env/clock.js';
import {systemClock} from '../core/os/clock.js';
import type {MovePlan, MovesReply, MovesRequest, MoveTask} from '../core/protocol/gen/wire.js';
import {OPS} from '../core/protocol/ops.js';
import {CliError, EXIT} from './cli-error.js';
import {administer} from './servers.js';

/** What `cpfs rebalance status -o json` prints. Stable: fields are added, never changed. */
export interface MovesStatus {
  version: 1;
  paused: boolean;
  /** Bytes a second that are moved at most, to and from servers. */
  rate: number;
  tasks: {
    id: number;
    /** convert, rebalance or drain. */
    kind: string;
    /** Of a drain: the group that everything leaves; else 0. */
    group: number;
    /** Of a conversion: the file or folder; else 0. */
    inode: number;
    objects: number;
    bytes: number;
    /** Objects that could not be moved in the newest pass; they are tried again. */
    failed: number;
    reason: string;
    /** running, done or stopped. */
    state: string;
  }[];
}

const POLL_MS = 300;
/** Until a server hears of it. */
const START_S = 1;
const NEXT = {
  ENOENT: "'cpfs rebalance status' and 'cpfs group list' show what there is",
  EBUSY: "'cpfs rebalance status' shows what is under way",
};

function toStatus({order, tasks}: MovesReply): MovesStatus {
  return {
    version: 1,
    paused: order?.paused ?? false,
    rate: order?.rate ?? 0,
    tasks: tasks.map(({task, objects, bytes, failed, reason, ended, stopped}) => ({
      id: task!.id,
      kind: moveKindName(task!.kind),
      group: task!.kind === MOVE.drain ? task!.group : 0,
      inode: task!.kind === MOVE.convert ? task!.root : 0,
      objects,
      bytes,
      failed,
      reason,
      state: stopped ? 'stopped' : ended ? 'done' : 'running',
    })),
  };
}

function ask(
  address: string,
  timeoutMs: number,
  request: Partial<MovesRequest>,
): Promise<MovesReply> {
  return administer(address, timeoutMs, NEXT, async (peer) => {
    return (await peer.call(OPS.moves, request, {deadlineMs: timeoutMs})).message;
  });
}

/** How moves go, after they were changed as the request says. */
export async function moves(
  address: string,
  timeoutMs: number,
  request: Partial<MovesRequest> = {},
): Promise<MovesStatus> {
  return toStatus(await ask(address, timeoutMs, request));
}

/** Resolves with the number of the task. */
export async function addMove(
  address: string,
  timeoutMs: number,
  task: Partial<MoveTask>,
  rate = 0,
): Promise<number> {
  return (await ask(address, timeoutMs, {add: {...NO_TASK, ...task}, rate})).added;
}

/** `tolerance`: per cent above the mean. Resolves with the number of the task. */
export const addRebalance = (
  address: string,
  timeoutMs: number,
  tolerance: number,
  rate: number,
): Promise<number> => addMove(address, timeoutMs, {kind: MOVE.rebalance, tolerance}, rate);

/** What a rebalance would move. `seconds`: at the rate; 0: that which is set. */
export async function planRebalance(
  address: string,
  timeoutMs: number,
  tolerance: number,
  rate: number,
): Promise<MovePlan & {seconds: number; rate: number}> {
  const add = {...NO_TASK, kind: MOVE.rebalance, tolerance};
  const reply = await ask(address, timeoutMs, {add, plan: true});
  const plan = reply.plan!;
  const limit = rate || reply.order!.rate;
  return {...plan, rate: limit, seconds: plan.objects === 0 ? 0 : START_S + plan.traffic / limit};
}

/** Until the task has ended. Rejects if it was stopped, or objects could not be moved. */
export async function moved(
  address: string,
  timeoutMs: number,
  id: number,
): Promise<MovesStatus['tasks'][number]> {
  for (;;) {
    const {tasks} = await moves(address, timeoutMs);
    const task = tasks.find((one) => one.id === id);
    if (task === undefined)
      throw new CliError(
        `nothing is known of task ${id} any more; see what it did with 'cpfs layout get'`,
        EXIT.failed,
      );
    if (task.state === 'stopped')
      throw new CliError(`task ${id} was stopped; what it has moved stays so`, EXIT.failed);
    if (task.state === 'done' && task.failed > 0)
      throw new CliError(
        `${task.failed} files could not be moved (${task.reason}); mend or close them and give the command again`,
        EXIT.degraded,
      );
    if (task.state === 'done') return task;
    await sleep(systemClock, POLL_MS);
  }
}
