import {FsError, Lost, messageOf, Refusal} from '../../core/base/errors.js';
import type {SteerReply, SteerRequest} from '../../core/protocol/gen/wire.js';
import {OPS} from '../../core/protocol/ops.js';
import {fetchStatus, withServer} from '../admin.js';
import {CliError, EXIT} from '../cli-error.js';
import {metaStatus} from '../meta/nodes.js';

/** One server of the cluster, and what it answered. */
export interface Asked {
  role: 'meta' | 'data';
  address: string;
  /** Null: it did not answer; `why`. */
  reply: SteerReply | null;
  why: string;
}

/** At so many at once servers are asked. */
const AT_ONCE = 16;

async function ask(
  role: Asked['role'],
  address: string,
  timeoutMs: number,
  request: Partial<SteerRequest>,
): Promise<Asked> {
  try {
    const as = role === 'meta' ? 'node' : 'admin';
    const {message} = await withServer(address, timeoutMs, as, (peer) =>
      peer.call(OPS.steer, request, {deadlineMs: timeoutMs}),
    );
    return {role, address, reply: message, why: ''};
  } catch (error) {
    if (!(error instanceof FsError || error instanceof Lost || error instanceof Refusal))
      throw error;
    return {role, address, reply: null, why: messageOf(error)};
  }
}

/** Asks every meta server and data server of the cluster, or those of `only`. CliError: none of them is one of it. */
export async function steerAll(
  metas: string,
  timeoutMs: number,
  only: readonly string[],
  request: Partial<SteerRequest>,
): Promise<Asked[]> {
  const {servers, active} = await metaStatus(metas, timeoutMs);
  const all: [Asked['role'], string][] = servers.map(({address}) => ['meta', address]);
  if (active !== null) {
    const status = await fetchStatus(active, timeoutMs);
    const data = [...status.servers, ...status.waiting].map(({address}) => address);
    all.push(...[...new Set(data)].map((address) => ['data', address] as [Asked['role'], string]));
  }
  const wanted = only.length === 0 ? all : all.filter(([, address]) => only.includes(address));
  const missing = only.filter((address) => !all.some(([, at]) => at === address));
  if (missing.length > 0)
    throw new CliError(
      `${missing[0]} is no server of this cluster; there are ${all.map(([, at]) => at).join(', ')}`,
      EXIT.notFound,
    );
  const asked: Asked[] = [];
  for (let i = 0; i < wanted.length; i += AT_ONCE) {
    const some = wanted.slice(i, i + AT_ONCE);
    asked.push(...(await Promise.all(some.map(([role, at]) => ask(role, at, timeoutMs, request)))));
  }
  return asked;
}
