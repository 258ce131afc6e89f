import {FsError, Lost, messageOf, Refusal, Unproved} from '../core/base/errors.js';
import {BufferPool, poolBytes} from '../core/base/pool.js';
import {groupStateName, SLOT, slotStateName} from '../core/cluster/map.js';
import {silentLog} from '../core/env/log.js';
import {formatScheme} from '../core/layout/scheme.js';
import {systemClock} from '../core/os/clock.js';
import {TcpNet} from '../core/os/net-tcp.js';
import type {GroupInfo, LifeReply, StatusReply} from '../core/protocol/gen/wire.js';
import {OPS} from '../core/protocol/ops.js';
import {Peer} from '../core/transport/peer.js';
import type {PeerLike} from '../core/transport/peer-api.js';
import {CliError, EXIT} from './cli-error.js';
import {findMetas} from './find-metas.js';
import {OWN_RELEASE} from './release.js';
import {keysPath, nodeSecurity} from './security.js';

export interface Counts {
  reads: number;
  readBytes: number;
  writes: number;
  writeBytes: number;
  syncs: number;
  calls: number;
  metaCalls: number;
}

/** What `cpfs status -o json` prints. Stable: fields are added, never changed; `version` counts breaks. */
export interface Status {
  version: 1;
  cluster: string;
  release: string;
  state: 'ok' | 'degraded' | 'failed' | 'starting';
  epoch: number;
  scheme: string;
  files: number;
  /** Chunks that recovering servers have yet to rebuild (1 at least for each of them), and checks that were not carried out yet. */
  recoveryLeft: number;
  /** `running` servers are in a pass; counts as in `cpfs scrub status`, of all servers together. */
  scrub: {paused: boolean; running: number; bad: number; repaired: number; lost: number};
  groups: {
    id: number;
    state: string;
    slots: {
      index: number;
      state: string;
      server: string | null;
      address: string | null;
      connected: boolean;
      /** Id of the server that copies this one to take the slot; null: none. */
      successor: string | null;
      /** For how long its server has been away, as far as this meta server has seen; null: it is not, or that is not known. */
      awaySeconds: number | null;
    }[];
    /** So many servers more may be lost and nothing is lost; below 0: so many too many are missing; null: not known (a meta server of an older release). */
    bears: number | null;
  }[];
  /** A server that is away for so long gives its slot to one that waits; 0: never, or not known. */
  outAfterSeconds: number;
  /** Changes that the meta server has carried out, ever; and for how long it has been the active one. */
  changes: number;
  uptimeSeconds: number;
  /** What the clock of the meta server says, ISO 8601. */
  at: string;
  /** Of data servers (by id) and clients (by session), since each of their processes began; those of older releases tell nothing. */
  counters: ({server: string | null; session: number | null} & Counts)[];
  /** Files of which most is read, the hottest first; `weight`: bytes a second, and 16 KiB for each request. */
  hot: {inode: number; path: string | null; weight: number}[];
  servers: {
    uuid: string;
    address: string;
    group: number;
    slot: number;
    connected: boolean;
    totalBytes: number;
    freeBytes: number;
    usedBytes: number;
    badBlocks: number;
    /** `io_uring` or `threads`, and `direct` after it where large pieces go past the page cache; empty: not known. */
    io: string;
    /** Failure domain; empty: not known. */
    domain: string;
    /** Where it is, outermost first; empty: not known. */
    location: string;
    /** Chunks that it has yet to rebuild. */
    left: number;
    /** Bytes a second that it moves for that, of late. */
    recoveryRate: number;
    /** That is less than it may be, because clients are served. */
    givesWay: boolean;
    /** Seconds that it takes yet, about; 0: not known. */
    recoverySeconds: number;
  }[];
  /** `open`: it serves; `flushing`, `closed`: it is being shut down; `held`: it was, and waits for the servers of `waitsFor`. */
  phase: string;
  waitsFor: string[];
  /** Servers that are away by intent, by id; none: all. Null: there is no maintenance. */
  maintenance: {servers: string[]; secondsLeft: number; why: string} | null;
  /** How recoveries go on: `cpfs recovery`. */
  recovery: {paused: boolean; rate: number};
  /** Data servers that wait for a slot. */
  waiting: {
    uuid: string;
    address: string;
    domain: string;
    totalBytes: number;
    freeBytes: number;
    /** Chunks that it has yet to copy, if it is to take a slot. */
    left: number;
  }[];
  sessions: {
    id: number;
    name: string;
    address: string;
    leases: number;
    opens: number;
    idleMs: number;
  }[];
}

/** A connection to one meta server, for as long as `use` takes. Rejects with what went wrong there, and with what `use` rejects with. */
async function connected<T>(
  address: string,
  timeoutMs: number,
  role: 'admin' | 'node',
  use: (peer: PeerLike, pool: BufferPool) => Promise<T>,
): Promise<T> {
  // Medium slots are for what comes in pieces: a backup.
  const shape = {small: 8, medium: 4, large: 0};
  const pool = new BufferPool(new ArrayBuffer(poolBytes(shape)), shape);
  const env = {clock: systemClock, pool, log: silentLog, release: OWN_RELEASE};
  let peer: Peer | null = null;
  try {
    const connection = await new TcpNet(pool, silentLog, null, nodeSecurity()).connect(
      address,
      timeoutMs,
    );
    peer = new Peer(env, connection);
    await peer.hello({role, name: `admin:${process.pid}`}, {deadlineMs: timeoutMs});
    return await use(peer, pool);
  } finally {
    peer?.close('done');
  }
}

function explained(addresses: string, error: unknown): unknown {
  if (error instanceof Refusal && error.kind === 'WrongVersion') {
    return new CliError(
      `the meta server ${addresses} is of a release too far from this one (${error.detail})`,
      EXIT.failed,
    );
  }
  if (error instanceof Refusal && error.kind === 'NotActive') {
    return new CliError(
      `no meta server is active at ${addresses}; 'cpfs meta status --meta ${addresses}' says why`,
      EXIT.unavailable,
    );
  }
  if (error instanceof FsError && error.errno === 'EOPNOTSUPP') {
    return new CliError(
      `the meta server ${addresses} cannot do that (${error.detail})`,
      EXIT.failed,
    );
  }
  if (error instanceof FsError && error.errno === 'EACCES') {
    return new CliError(
      `the meta server ${addresses} does not allow that: ${error.detail}`,
      EXIT.permission,
    );
  }
  if (error instanceof Unproved) {
    return new CliError(
      `the meta server ${addresses} and this command did not prove to each other who they are (${messageOf(error)}); is ${keysPath() || 'CPFS_KEYS'} of this cluster? 'cpfs auth show' says what it is`,
      EXIT.permission,
    );
  }
  if (error instanceof Lost || error instanceof Refusal) {
    return new CliError(
      `the meta server ${addresses} cannot be reached (${messageOf(error)}); is it running, and is the address right?`,
      EXIT.unavailable,
    );
  }
  return error;
}

/** As long as it was not asked for anything, another one can be. */
const goesElsewhere = (error: unknown): boolean =>
  error instanceof Lost || (error instanceof Refusal && error.kind === 'NotActive');

/**
 * Connects to the active one of some meta servers (as --meta names them) as an administrator, calls `use` and closes again. Each
 * try is bounded by `timeoutMs`.
 */
export async function withMeta<T>(
  addresses: string,
  timeoutMs: number,
  use: (peer: PeerLike, pool: BufferPool) => Promise<T>,
): Promise<T> {
  const left = await findMetas(addresses, timeoutMs);
  const tried = new Set<string>();
  let last: unknown;
  while (left.length > 0) {
    const address = left.shift()!;
    if (tried.has(address)) continue;
    tried.add(address);
    let used = false;
    try {
      return await connected(address, timeoutMs, 'admin', (peer, pool) => {
        used = true;
        return use(peer, pool);
      });
    } catch (error) {
      // That it does not answer says less than that it is not the active one.
      if (!(last instanceof Refusal)) last = error;
      if (used || !goesElsewhere(error)) throw explained(address, error);
      // It says where the active one is.
      if (error instanceof Refusal && error.detail !== '') left.unshift(error.detail);
    }
  }
  throw explained(addresses, last);
}

/** Connects to one server, whatever it is: `node` for a meta server, `admin` for a data server. Rejects with what went wrong, as it is. */
export const withServer = <T>(
  address: string,
  timeoutMs: number,
  role: 'admin' | 'node',
  use: (peer: PeerLike) => Promise<T>,
): Promise<T> => connected(address, timeoutMs, role, use);

/** Connects to one meta server, active or not, to ask it about itself. */
export function withNode<T>(
  address: string,
  timeoutMs: number,
  use: (peer: PeerLike) => Promise<T>,
): Promise<T> {
  return connected(address, timeoutMs, 'node', use).catch((error: unknown) => {
    throw explained(address, error);
  });
}

export async function fetchStatus(address: string, timeoutMs: number): Promise<Status> {
  return withMeta(address, timeoutMs, async (peer) => {
    const {message} = await peer.call(OPS.status, {}, {deadlineMs: timeoutMs});
    return toStatus(message);
  });
}

/** A client that was heard within this time lives. */
const ALIVE_MS = 15_000;

/** Ends a session for good. Resolves when every data server refuses it. CliError: no such session; it lives and holds something, and not `sure`. */
export async function evict(
  address: string,
  timeoutMs: number,
  id: number,
  sure: boolean,
): Promise<void> {
  await withMeta(address, timeoutMs, async (peer) => {
    const gone = new CliError(
      `there is no session ${id}; 'cpfs client list' shows those that are`,
      EXIT.notFound,
    );
    const {message} = await peer.call(OPS.status, {}, {deadlineMs: timeoutMs});
    const session = message.sessions.find((one) => one.id === id);
    if (session === undefined) throw gone;
    if (!sure && session.leases > 0 && session.idleMs < ALIVE_MS) {
      throw new CliError(
        `${session.name} is alive and holds ${session.leases} leases: what it has not written back would be lost; say --yes to do it`,
        EXIT.refused,
      );
    }
    try {
      await peer.call(OPS.evict, {session: id}, {deadlineMs: timeoutMs});
    } catch (error) {
      throw error instanceof FsError && error.errno === 'ENOENT' ? gone : error;
    }
  });
}

function overall(states: readonly string[]): Status['state'] {
  if (states.includes('failed')) return 'failed';
  const made = states.filter((state) => state !== 'creating');
  if (made.length === 0) return 'starting';
  return made.every((state) => state === 'ready') ? 'ok' : 'degraded';
}

export function toStatus(reply: StatusReply): Status {
  const groups = reply.map.groups.map((g) => ({
    id: g.id,
    state: groupStateName(g.state),
    bears: bears(reply, g),
    slots: g.slots.map((slot, index) => ({
      awaySeconds: awaySeconds(reply, g.id, index),
      index,
      state: slotStateName(slot.state),
      server: slot.server?.uuid ?? null,
      address: slot.server?.address ?? null,
      connected: slot.server?.connected ?? false,
      successor: slot.successor || null,
    })),
  }));
  const servers = reply.map.groups.flatMap((g) =>
    g.slots.flatMap((slot, index) =>
      slot.server === null || slot.server === undefined
        ? []
        : [
            {
              ...pick(slot.server),
              group: g.id,
              slot: index,
              usedBytes: slot.server.totalBytes - slot.server.freeBytes,
            },
          ],
    ),
  );
  return {
    version: 1,
    cluster: reply.map.cluster,
    release: reply.release,
    state: overall(groups.map((g) => g.state)),
    epoch: reply.map.epoch,
    scheme: formatScheme(reply.rootLayout),
    files: reply.files,
    recoveryLeft: reply.recoveryLeft,
    outAfterSeconds: Math.round(reply.outAfterMs / 1000),
    changes: reply.logSequence,
    uptimeSeconds: Math.round(reply.uptimeMs / 1000),
    at: new Date(reply.wallMs).toISOString(),
    counters: reply.counters.map(({server, session, counters}) => ({
      server: server || null,
      session: session || null,
      ...counters,
    })),
    hot: reply.hot.map(({oid: inode, path, weight}) => ({
      inode,
      path: path.length === 0 ? null : new TextDecoder().decode(path),
      weight,
    })),
    scrub: scrubOf(reply),
    ...lifeOf(reply.life),
    groups,
    servers,
    recovery: {paused: reply.recovery?.paused ?? false, rate: reply.recovery?.rate ?? 0},
    waiting: reply.waiting.map(({uuid, address, domain, totalBytes, freeBytes, left}) => ({
      left,
      uuid,
      address,
      domain,
      totalBytes,
      freeBytes,
    })),
    sessions: reply.sessions.map((s) => ({
      id: s.id,
      name: s.name,
      address: s.address,
      leases: s.leases,
      opens: s.opens,
      idleMs: s.idleMs,
    })),
  };
}

function lifeOf(life: LifeReply | null): Pick<Status, 'phase' | 'waitsFor' | 'maintenance'> {
  if (life === null) return {phase: 'open', waitsFor: [], maintenance: null};
  const {phase, missing, maintenance} = life;
  const waitsFor = missing.map(({address}) => address);
  if (maintenance === null) return {phase, waitsFor, maintenance};
  const {servers, leftMs, why} = maintenance;
  return {phase, waitsFor, maintenance: {servers, secondsLeft: Math.ceil(leftMs / 1000), why}};
}

/** Who is away or has not rebuilt everything is lost already, for what is stored under it. */
function bears({health}: StatusReply, {id, slots}: GroupInfo): number | null {
  const group = health.find((one) => one.id === id);
  if (group === undefined) return null;
  const lacking = slots.filter(({state}) => state === SLOT.away || state === SLOT.recovering);
  return group.mMin - lacking.length;
}

function awaySeconds({health}: StatusReply, group: number, slot: number): number | null {
  const ms = health.find(({id}) => id === group)?.awayMs[slot] ?? 0;
  return ms === 0 ? null : Math.round(ms / 1000);
}

function scrubOf({scrub}: StatusReply): Status['scrub'] {
  const {paused = false, running = 0, bad = 0, repaired = 0, lost = 0} = scrub ?? {};
  return {paused, running, bad, repaired, lost};
}

function pick(server: {
  uuid: string;
  address: string;
  connected: boolean;
  totalBytes: number;
  freeBytes: number;
  badBlocks: number;
  io?: string;
  domain?: string;
  location?: string;
  left?: number;
  recoveryRate?: number;
  givesWay?: boolean;
  recoveryS?: number;
}) {
  const {uuid, address, connected, totalBytes, freeBytes, badBlocks, io = '', domain = ''} = server;
  const {left = 0, recoveryRate = 0, recoveryS: recoverySeconds = 0, givesWay = false} = server;
  const {location = ''} = server;
  const moves = {location, left, recoveryRate, recoverySeconds, givesWay};
  return {uuid, address, connected, totalBytes, freeBytes, badBlocks, io, domain, ...moves};
}
