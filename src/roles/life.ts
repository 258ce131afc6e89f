import {setTimeout as delay} from 'node:timers/promises';
import type {LifeReply, LifeRequest} from '../core/protocol/gen/wire.js';
import {OPS} from '../core/protocol/ops.js';
import {fetchStatus, type Status} from './admin.js';
import {CliError, EXIT} from './cli-error.js';
import {metaStatus} from './meta/nodes.js';
import {administer} from './servers.js';
import {steerAll} from './support/servers.js';

/** The cluster as a whole stops and begins again; servers are taken away for a while. */

/** What `cpfs maintenance status -o json` prints. Stable: fields are added, never changed. */
export interface MaintenanceStatus {
  version: 1;
  /** Null: there is none. */
  maintenance: {
    /** Addresses; empty: all servers. */
    servers: string[];
    secondsLeft: number;
    why: string;
  } | null;
}

const POLL_MS = 250;
const NEXT = {
  EBUSY: "wait for 'cpfs cluster shutdown' to end",
  ENOENT: "'cpfs data list' shows the servers",
  EINVAL: 'see --help',
};

type Say = (line: string) => void;

function ask(
  meta: string,
  timeoutMs: number,
  request: Partial<LifeRequest>,
): Promise<{life: LifeReply; status: Status}> {
  return administer(meta, timeoutMs, NEXT, async (peer, status) => {
    const {message} = await peer.call(OPS.life, request, {deadlineMs: timeoutMs});
    return {life: message, status};
  });
}

function toMaintenance({life, status}: {life: LifeReply; status: Status}): MaintenanceStatus {
  const {maintenance} = life;
  if (maintenance === null) return {version: 1, maintenance: null};
  const {servers, leftMs, why} = maintenance;
  const address = (uuid: string) => status.servers.find((one) => one.uuid === uuid)?.address;
  return {
    version: 1,
    maintenance: {
      servers: servers.map((uuid) => address(uuid) ?? uuid),
      secondsLeft: Math.ceil(leftMs / 1000),
      why,
    },
  };
}

export async function maintenanceStatus(
  meta: string,
  timeoutMs: number,
): Promise<MaintenanceStatus> {
  return toMaintenance(await ask(meta, timeoutMs, {}));
}

/** Ids of the servers that are named: GROUP.SLOT, an address, a failure domain, or the beginning of an id. */
export function serversNamed({servers}: Status, names: readonly string[]): string[] {
  const found = new Set<string>();
  for (const name of names) {
    const meant = servers.filter(
      ({uuid, address, domain, group, slot}) =>
        [address, domain, `${group}.${slot}`].includes(name) ||
        (name.length >= 4 && uuid.startsWith(name)),
    );
    if (meant.length === 0)
      throw new CliError(
        `no server is '${name}'; name one as GROUP.SLOT, by its address, its id or its failure domain, as 'cpfs data list' shows them`,
        EXIT.notFound,
      );
    for (const {uuid} of meant) found.add(uuid);
  }
  return [...found];
}

/** No names: all servers. */
export async function beginMaintenance(
  meta: string,
  timeoutMs: number,
  {names, forMs, why}: {names: readonly string[]; forMs: number; why: string},
): Promise<MaintenanceStatus> {
  const servers = serversNamed(await fetchStatus(meta, timeoutMs), names);
  const begin = {servers, forMs, why, leftMs: 0};
  return toMaintenance(await ask(meta, timeoutMs, {begin}));
}

export async function endMaintenance(meta: string, timeoutMs: number): Promise<MaintenanceStatus> {
  return toMaintenance(await ask(meta, timeoutMs, {end: true}));
}

const named = (items: readonly string[]): string =>
  items.length <= 5
    ? items.join(', ')
    : `${items.slice(0, 5).join(', ')} and ${items.length - 5} more`;

/** Calls `is` until it is true; false after `ms`. */
async function until(ms: number, is: () => Promise<boolean>): Promise<boolean> {
  const end = performance.now() + ms;
  while (!(await is())) {
    if (performance.now() >= end) return false;
    await delay(POLL_MS);
  }
  return true;
}

/** Tells those processes to end in order; they are there no more, or CliError. */
async function stopServers(
  meta: string,
  timeoutMs: number,
  addresses: readonly string[],
  what: string,
): Promise<void> {
  if (addresses.length === 0) return;
  const asked = await steerAll(meta, timeoutMs, addresses, {stop: true});
  const deaf = asked.filter(({reply}) => reply === null);
  if (deaf.length > 0)
    throw new CliError(
      `${what} ${named(deaf.map(({address, why}) => `${address} (${why})`))} cannot be told to stop; stop it on its host, and give the command again`,
      EXIT.degraded,
    );
}

/** Closes the cluster in order, and stops all of its servers: data servers, standbys, the active meta server. Clients stay, and wait. */
export async function shutDown(
  metas: string,
  timeoutMs: number,
  patienceMs: number,
  say: Say,
): Promise<void> {
  let {life, status} = await ask(metas, timeoutMs, {close: true});
  say(`cluster ${status.cluster}: clients write back`);
  const closed = await until(patienceMs, async () => {
    ({life, status} = await ask(metas, timeoutMs, {}));
    if (life.phase === 'open')
      throw new CliError(
        'another meta server has become the active one meanwhile; give the command again',
        EXIT.failed,
      );
    return life.phase === 'closed' || life.phase === 'held';
  });
  if (!closed) {
    const who = life.holders.map(({session, name, address}) => `${session} (${name || address})`);
    throw new CliError(
      `clients ${named(who)} have not written back within ${patienceMs / 1000} s; end them with 'cpfs client evict', and give the command again, or take it back with 'cpfs cluster start --now'`,
      EXIT.timeout,
    );
  }
  const there = [...status.servers.filter(({connected}) => connected), ...status.waiting];
  await stopServers(metas, timeoutMs, [...new Set(there.map((s) => s.address))], 'data server');
  const gone = await until(patienceMs, async () => {
    ({life} = await ask(metas, timeoutMs, {}));
    return life.connected === 0;
  });
  if (!gone)
    throw new CliError(
      `${life.connected} data servers have not stopped within ${patienceMs / 1000} s; stop them on their hosts, and give the command again`,
      EXIT.timeout,
    );
  say(`${there.length} data servers have stopped`);
  const {servers, active} = await metaStatus(metas, timeoutMs);
  const standbys = servers.filter(({address, role}) => role === 'standby' && address !== active);
  await stopServers(
    metas,
    timeoutMs,
    standbys.map(({address}) => address),
    'meta server',
  );
  if (active !== null) await stopServers(active, timeoutMs, [active], 'meta server');
  const over = await until(patienceMs, async () => {
    const left = await metaStatus(metas, 1_000).catch(() => null);
    return left === null || left.servers.every(({role}) => role === 'away');
  });
  if (!over)
    throw new CliError(
      `a meta server has not stopped within ${patienceMs / 1000} s; see its log, and stop it on its host`,
      EXIT.timeout,
    );
  say(`${standbys.length + 1} meta servers have stopped; everything that was written is on disks`);
}

export interface StartOptions {
  /** Open without those that are missing. */
  now: boolean;
  timeoutMs: number;
  patienceMs: number;
}

/** Waits for the servers of a cluster that was shut down, and says who is missing. */
export async function startUp(metas: string, options: StartOptions, say: Say): Promise<void> {
  const {now, timeoutMs, patienceMs} = options;
  let life: LifeReply | null = null;
  let told = '';
  const tell = (line: string): void => {
    if (line !== told) say(line);
    told = line;
  };
  let why = '';
  const open = await until(patienceMs, async () => {
    try {
      ({life} = await ask(metas, timeoutMs, {open: now}));
    } catch (error) {
      if (!(error instanceof CliError && error.exit === EXIT.unavailable)) throw error;
      why = error.message;
      tell("no meta server is active; start them on their hosts ('systemctl start cpfs-meta')");
      return false;
    }
    const missing = life.missing.map(({address}) => address);
    if (life.phase === 'held' && missing.length > 0)
      tell(`waiting for data server${missing.length > 1 ? 's' : ''} ${named(missing)}`);
    if (life.phase === 'closed' && !now)
      throw new CliError(
        "it was shut down, but its meta server has not been restarted; take the shutdown back with 'cpfs cluster start --now'",
        EXIT.conflict,
      );
    return life.phase === 'open';
  });
  if (open) return say('the cluster is open');
  const left = life as LifeReply | null;
  if (left === null) throw new CliError(why, EXIT.unavailable);
  throw new CliError(
    `data servers ${named(left.missing.map(({address}) => address))} have not come back within ${patienceMs / 1000} s; start them, or open the cluster without them with --now`,
    EXIT.timeout,
  );
}
