import {parseAddress} from '../../core/base/address.js';
import {FsError} from '../../core/base/errors.js';
import type {NodeStatusReply} from '../../core/protocol/gen/wire.js';
import {OPS} from '../../core/protocol/ops.js';
import {withNode} from '../admin.js';
import {CliError, EXIT} from '../cli-error.js';
import {findMetas} from '../find-metas.js';

/** What `cpfs meta status -o json` prints. Stable: fields are added, never changed; `version` counts breaks. */
export interface MetaStatus {
  version: 1;
  /** `ok`: one is active, and all others that were asked can take over, or with durability `disk` follow it; `degraded`: one is active; `down`: none is. */
  state: 'ok' | 'degraded' | 'down';
  /** Id of the cluster; empty: nobody says. */
  cluster: string;
  /** host:port; null: none is. */
  active: string | null;
  term: number;
  /** Who decides which one is active: `alone`, `coordinator` or `by hand`; empty: nobody says. */
  how: string;
  /** Who decides, where it is a coordinator; null: nobody is asked. */
  coordinator: CoordinatorStatus | null;
  /** What an fsync waits for, as the active one is configured: `disk`, `memory` or `both`; empty: nobody says. */
  durability: string;
  /** The same as of now: `disk` while no standby is in sync; empty: none is active. */
  durabilityNow: string;
  servers: MetaServerStatus[];
}

export interface CoordinatorStatus {
  /** `ok`: it answers all meta servers that were asked; `partly`: some of them; `away`: none. */
  state: 'ok' | 'partly' | 'away';
  /** Since when it has not answered one of them, ISO 8601; null: it answers all. */
  since: string | null;
  /** For how long it has not. */
  awayMs: number;
  /** For how long the active meta server goes on if it does not answer; 0: none is active. */
  servesMs: number;
}

export interface MetaServerStatus {
  /** host:port that was asked. */
  address: string;
  role: 'active' | 'standby' | 'away';
  /** Why it cannot be reached, or is not active though nobody is; empty: all is well. */
  why: string;
  node: string;
  release: string;
  /** Last record of its log. */
  sequence: number;
  /** Nothing is answered that it does not have. Of the active one: true. */
  inSync: boolean;
  /** With durability `disk`: it hears the active one, which does not wait for it. */
  follows: boolean;
  /** How often it had to copy everything. */
  copies: number;
  /** Since it last heard the active one; null: it is it, or did not yet. */
  heardMs: number | null;
  /** So long the coordinator has not answered it; 0: it does, or there is none. */
  coordinatorAwayMs: number;
}

const isReply = (one: NodeStatusReply | Error): one is NodeStatusReply => !(one instanceof Error);

/** Asks each of these meta servers (as --meta names them), and those that they know. */
export async function metaStatus(names: string, timeoutMs: number): Promise<MetaStatus> {
  const asked = new Map<string, NodeStatusReply | Error>();
  let ask = await findMetas(names, timeoutMs);
  while (ask.length > 0) {
    const replies = await Promise.all(
      ask.map((address) => nodeStatus(address, timeoutMs).catch((error: Error) => error)),
    );
    for (const [i, reply] of replies.entries()) asked.set(ask[i]!, reply);
    const known = replies.flatMap((reply) =>
      reply instanceof Error ? [] : [reply.active, ...reply.standbys.map((one) => one.address)],
    );
    ask = [...new Set(known)].filter(
      (address) => parseAddress(address) !== null && !asked.has(address),
    );
  }
  const servers = new Map<string, MetaServerStatus>();
  for (const [address, reply] of asked) {
    const one = describe(address, reply, asked);
    // One may be reached at several addresses.
    if (one.node === '' || ![...servers.values()].some(({node}) => node === one.node))
      servers.set(address, one);
  }
  return judge([...servers.values()], asked);
}

function judge(
  servers: MetaServerStatus[],
  asked: ReadonlyMap<string, NodeStatusReply | Error>,
): MetaStatus {
  const replies = [...asked.values()].filter(isReply);
  const leading = replies.filter(({role}) => role === 'active');
  const first = leading.sort((a, b) => b.term - a.term)[0];
  const how = first?.how ?? replies[0]?.how ?? '';
  const coordinator = how === 'coordinator' ? coordinatorOf(replies, first) : null;
  const decided = coordinator === null || coordinator.state === 'ok';
  const whole =
    decided && servers.every(({role, inSync, follows}) => role !== 'away' && (inSync || follows));
  return {
    version: 1,
    state: first === undefined ? 'down' : whole ? 'ok' : 'degraded',
    cluster: first?.cluster ?? replies.find(({cluster}) => cluster !== '')?.cluster ?? '',
    active: first?.address ?? null,
    term: Math.max(0, ...replies.map(({term}) => term)),
    how,
    coordinator,
    durability: (first ?? replies.find(({durability}) => durability !== ''))?.durability ?? '',
    durabilityNow: first?.durabilityNow ?? '',
    servers: servers.sort((a, b) => (a.address < b.address ? -1 : 1)),
  };
}

function coordinatorOf(
  replies: readonly NodeStatusReply[],
  active: NodeStatusReply | undefined,
): CoordinatorStatus {
  const away = replies.map(({coordinatorAwayMs}) => coordinatorAwayMs).filter((ms) => ms > 0);
  const awayMs = Math.max(0, ...away);
  return {
    state: away.length === 0 ? 'ok' : away.length < replies.length ? 'partly' : 'away',
    since: awayMs === 0 ? null : new Date(Date.now() - awayMs).toISOString(),
    awayMs,
    servesMs: active?.servesMs ?? 0,
  };
}

function describe(
  address: string,
  reply: NodeStatusReply | Error,
  asked: ReadonlyMap<string, NodeStatusReply | Error>,
): MetaServerStatus {
  if (reply instanceof Error) {
    const nothing = {node: '', release: '', sequence: 0, inSync: false, follows: false};
    return {
      address,
      role: 'away',
      why: reply.message,
      ...nothing,
      copies: 0,
      heardMs: null,
      coordinatorAwayMs: 0,
    };
  }
  const {role, node, release, sequence, copies, why, heardMs, connected} = reply;
  const {coordinatorAwayMs, durability} = reply;
  const leaders = [...asked.values()].filter(isReply);
  // What the active one says counts: it is who waits for it.
  const counted = leaders.some(({standbys}) => standbys.some((s) => s.node === node && s.inSync));
  return {
    address,
    role: role === 'active' ? 'active' : 'standby',
    why,
    node,
    release,
    sequence,
    inSync: role === 'active' || counted,
    follows: role === 'standby' && connected && durability === 'disk',
    copies,
    heardMs: connected ? heardMs : null,
    coordinatorAwayMs,
  };
}

export const nodeStatus = (address: string, timeoutMs: number): Promise<NodeStatusReply> =>
  withNode(address, timeoutMs, async (peer) => {
    const {message} = await peer.call(OPS.nodeStatus, {}, {deadlineMs: timeoutMs});
    return message;
  });

/** What may be lost if the standby at `address` becomes the active one now. CliError: it is active. */
export async function lossOf(address: string, timeoutMs: number): Promise<string> {
  const status = await nodeStatus(address, timeoutMs);
  if (status.role === 'active')
    throw new CliError(`the meta server ${address} is active already`, EXIT.conflict);
  if (!status.whole) {
    throw new CliError(
      `the meta server ${address} has nothing that is whole; let it copy an active one first, or use 'cpfs meta rebuild --from-data'`,
      EXIT.refused,
    );
  }
  const {sequence, term, active, connected, inSync, heardMs, durability} = status;
  const from = active === '' ? 'the active meta server' : active;
  const until = connected
    ? `It hears ${from} now, which goes on answering until then.`
    : 'It hears no active meta server.';
  const kept =
    durability === 'disk'
      ? 'It answers without waiting for standbys (--durability disk).'
      : inSync
        ? 'When it last heard it, nothing had been answered that it does not have.'
        : 'When it last heard it, it did not have everything that had been answered.';
  return (
    `${address} has the log up to record ${sequence}, of term ${term}, and heard ${from} ${Math.round(heardMs / 1000)} s ago. ${until} ${kept} ` +
    'Whatever was answered since then and did not reach it is lost. The former active meta server must not run any more, or only with --join.'
  );
}

/** Makes it the active one. CliError: why not. */
export async function promote(address: string, timeoutMs: number): Promise<void> {
  const why = await withNode(address, timeoutMs, async (peer) => {
    const {message} = await peer.call(OPS.promote, {}, {deadlineMs: timeoutMs});
    return message.why;
  }).catch((error: unknown) => {
    if (error instanceof FsError && error.errno === 'EINVAL') return 'it is active already';
    throw error;
  });
  if (why !== '') {
    throw new CliError(
      `${address} cannot be promoted: ${why}; see 'cpfs meta status --meta ${address}'`,
      EXIT.conflict,
    );
  }
  const until = performance.now() + timeoutMs;
  for (;;) {
    const status = await nodeStatus(address, timeoutMs).catch(() => null);
    if (status?.role === 'active') return;
    if (performance.now() > until) {
      throw new CliError(
        `${address} is not active after ${timeoutMs / 1000} s; see its log`,
        EXIT.timeout,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
