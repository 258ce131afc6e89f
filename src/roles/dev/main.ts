import {rmSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {parseScheme} from '../../core/layout/scheme.js';
import {abortConnection, FUSE_TYPE, mountedOn, unmount} from '../../core/os/mount-point.js';
import {fetchStatus} from '../admin.js';
import {CliError, EXIT} from '../cli-error.js';
import {metaStatus} from '../meta/nodes.js';
import {forgetMount, isMounted} from '../mounts.js';
import {alive, ended, type ProcessId, signal, stopProcess} from '../process.js';
import {type EtcdProcess, startEtcd} from './etcd.js';
import {prepareMountPoint, startData, startMeta, startMount} from './start.js';
import {
  type DevMount,
  type DevServer,
  type DevSettings,
  type DevState,
  etcdOf,
  metaAddresses,
  needDev,
  readDev,
  running,
  writeDev,
} from './state.js';

export type DevRole = 'meta' | 'data' | 'mount' | 'etcd';

/** Starts (or starts again) a whole cluster and mounts it; on failure ends what it started. */
export async function devUp(
  state: string,
  mount: string,
  settings: DevSettings,
): Promise<DevState> {
  const before = readDev(state);
  if (before !== null && running(before).length > 0) {
    throw new CliError(
      `a dev cluster runs in ${state} already; stop it with 'cpfs dev down --state ${state}'`,
      EXIT.conflict,
    );
  }
  if (before !== null) sameShape(before, settings);
  await prepareMountPoint(mount);
  const dev: DevState = {version: 1, state, settings, meta: [], data: [], mounts: []};
  writeDev(dev);
  try {
    const same = before?.settings.basePort === settings.basePort ? before : null;
    const metas = settings.metas ?? 1;
    if (metas > 1) {
      dev.etcd = await startEtcd(join(state, 'etcd'), join(state, 'log', 'etcd.log'), same?.etcd);
      writeDev(dev);
    }
    for (let index = 1; index <= metas; index++) {
      dev.meta.push(await startMeta(dev, index, same?.meta[index - 1]?.address));
      writeDev(dev);
    }
    const count = settings.groups * settings.servers + (settings.spares ?? 0);
    const indexes = Array.from({length: count}, (_, i) => i + 1);
    // One after the other decides who gets which slot on the first start; two cores gain nothing from a stampede.
    for (const index of indexes) {
      dev.data.push(await startData(dev, index));
      writeDev(dev);
    }
    await groupsReady(dev, 20_000);
    if (metas > 1) await standbysReady(dev, 20_000);
    dev.mounts.push(await startMount(dev, mount));
    writeDev(dev);
    return dev;
  } catch (error) {
    await devDown(state, false).catch(() => {});
    throw error;
  }
}

/**
 * The cluster that runs in `state` already, if it can be used as what `devUp` would start, with those of its data servers that do not
 * run; null if none runs. Throws where what runs cannot be used so.
 */
export async function devRunning(
  state: string,
  mount: string,
  settings: DevSettings,
): Promise<{dev: DevState; stopped: DevServer[]} | null> {
  const dev = readDev(state);
  if (dev === null || running(dev).length === 0) return null;
  sameShape(dev, settings);
  const runs = `a dev cluster runs in ${state} already`;
  const start = (what: string) => `start it with 'cpfs dev start ${what} --state ${state}'`;
  const there = dev.mounts[0];
  if (there === undefined) {
    throw new CliError(
      `${runs}, but is not mounted yet; wait for its start, or stop it with 'cpfs dev down --state ${state}'`,
      EXIT.conflict,
    );
  }
  if (![...etcdOf(dev), ...dev.meta].every(alive))
    throw new CliError(`${runs}, without its meta server; ${start('meta 1')}`, EXIT.conflict);
  if (!alive(there) || !(await isMounted(there.dir)))
    throw new CliError(`${runs}, without its mount; ${start('mount')}`, EXIT.conflict);
  if (there.dir !== mount) {
    throw new CliError(
      `${runs}, mounted on ${there.dir}; mount it on ${mount} too with 'cpfs mount ${mount} --meta ${metaAddresses(dev)} --detach'`,
      EXIT.conflict,
    );
  }
  return {dev, stopped: dev.data.filter((s) => !alive(s))};
}

/** What is on the disks was made for one shape; another one would start a cluster that never gets ready. */
function sameShape(before: DevState, settings: DevSettings): void {
  const {groups, servers, scheme, metas = 1} = before.settings;
  if (metas !== (settings.metas ?? 1)) {
    throw new CliError(
      `${before.state} holds a cluster of ${metas} meta server(s); ask for --metas ${metas}, or remove it with 'cpfs dev down --purge --state ${before.state}'`,
      EXIT.conflict,
    );
  }
  if (groups > settings.groups || servers !== settings.servers || scheme !== settings.scheme) {
    throw new CliError(
      `${before.state} holds a cluster of ${groups} group(s) of ${servers} servers with ${scheme}; ask for the same, or remove it with 'cpfs dev down --purge --state ${before.state}'`,
      EXIT.conflict,
    );
  }
}

async function groupsReady(dev: DevState, patienceMs: number): Promise<void> {
  const until = performance.now() + patienceMs;
  for (;;) {
    const status = await fetchStatus(metaAddresses(dev), 5000);
    const usable = status.groups.filter(
      (g) => g.state === 'ready' || g.state === 'degraded' || g.state === 'recovering',
    );
    if (usable.length >= dev.settings.groups) return;
    if (performance.now() > until) {
      throw new CliError(
        `the groups were not ready within ${patienceMs / 1000} s; see ${dev.state}/log`,
        EXIT.timeout,
      );
    }
    await delay(50);
  }
}

/** Waits until any meta server may be lost. */
async function standbysReady(dev: DevState, patienceMs: number): Promise<void> {
  const until = performance.now() + patienceMs;
  while ((await metaStatus(metaAddresses(dev), 5000)).state !== 'ok') {
    if (performance.now() > until) {
      throw new CliError(
        `the standbys were not in sync within ${patienceMs / 1000} s; see ${dev.state}/log`,
        EXIT.timeout,
      );
    }
    await delay(50);
  }
}

/** Stops everything that `up` started, also after crashes. The data stays unless `purge`. */
export async function devDown(state: string, purge: boolean): Promise<{stopped: number}> {
  const dev = needDev(state);
  let stopped = 0;
  for (const mount of dev.mounts) {
    if (alive(mount)) stopped++;
    await stopMount(mount);
  }
  for (const group of [dev.data, dev.meta, etcdOf(dev)]) {
    const live = group.filter(alive);
    stopped += live.length;
    await Promise.all(live.map((p) => stopProcess(p, 15_000)));
  }
  if (purge) {
    rmSync(state, {recursive: true, force: true});
  } else {
    writeDev({...dev, mounts: []});
  }
  return {stopped};
}

/** Unmounts and ends the mount's process, whatever state it is in and whoever uses it; within 80 s. */
async function stopMount(mount: DevMount): Promise<void> {
  const {dir} = mount;
  const place = await mountedOn(dir);
  // One that was stopped has what it has not written back only until its session is fenced.
  signal(mount, 'SIGCONT');
  if (place?.type === FUSE_TYPE) {
    const failure = await unmount(dir, {lazy: false});
    if (failure !== null || (await isMounted(dir))) await unmount(dir, {lazy: true});
  }
  // The process writes back what is dirty, and ends by itself once nobody uses the mount. Who does so is told the end of it.
  if (!(await ended(mount, 2000))) await stopProcess(mount, 20_000);
  if (alive(mount) && place !== null) {
    // Not even SIGKILL ends one that waits for its own mount in the kernel.
    await abortConnection(place.minor);
    await ended(mount, 5000);
  }
  forgetMount(dir);
}

function find(dev: DevState, role: DevRole, index: number): ProcessId {
  const list: readonly ProcessId[] =
    role === 'mount' ? dev.mounts : role === 'etcd' ? etcdOf(dev) : dev[role];
  const found = list[index - 1];
  if (found === undefined) {
    throw new CliError(
      `there is no ${role} ${index} in ${dev.state}; it has ${list.length}`,
      EXIT.notFound,
    );
  }
  return found;
}

/** SIGKILL, at once. */
export async function devKill(state: string, role: DevRole, index: number): Promise<void> {
  const target = find(needDev(state), role, index);
  if (!signal(target, 'SIGKILL')) {
    throw new CliError(
      `${role} ${index} does not run; start it with 'cpfs dev start ${role} ${index} --state ${state}'`,
      EXIT.conflict,
    );
  }
  await ended(target, 10_000);
}

export async function devStart(state: string, role: DevRole, index: number): Promise<void> {
  const dev = needDev(state);
  const target = find(dev, role, index);
  if (alive(target)) {
    throw new CliError(`${role} ${index} runs already (process ${target.pid})`, EXIT.conflict);
  }
  // Others may have started something meanwhile.
  if (role === 'mount') {
    const started = await startMount(dev, (target as DevState['mounts'][number]).dir);
    const now = needDev(state);
    now.mounts[index - 1] = started;
    writeDev(now);
  } else if (role === 'etcd') {
    const {folder} = target as EtcdProcess;
    const etcd = await startEtcd(folder, join(state, 'log', 'etcd.log'), target as EtcdProcess);
    writeDev({...needDev(state), etcd});
  } else {
    const start = role === 'meta' ? startMeta : startData;
    const started = await start(dev, index, (target as DevServer).address);
    const now = needDev(state);
    now[role][index - 1] = started;
    writeDev(now);
  }
}

/** Ends a server at once and empties its folder, as if its disk had been replaced. Refuses where that would lose files, unless `force`. */
export async function devWipe(
  state: string,
  role: DevRole,
  index: number,
  force: boolean,
): Promise<void> {
  if (role !== 'data')
    throw new CliError(`only data servers can be wiped, not ${role}`, EXIT.usage);
  const dev = needDev(state);
  const target = find(dev, role, index) as DevServer;
  if (!force) await othersSuffice(dev, target);
  signal(target, 'SIGKILL');
  await ended(target, 10_000);
  rmSync(target.folder, {recursive: true, force: true});
}

/** Throws unless the group would have everything without this server. */
async function othersSuffice(dev: DevState, target: DevServer): Promise<void> {
  const {groups} = await fetchStatus(metaAddresses(dev), 5000);
  const group = groups.find((g) => g.id === target.group);
  const lacking = (group?.slots ?? []).filter(
    (s) => s.address !== target.address && (s.state === 'away' || s.state === 'recovering'),
  );
  const spare = parseScheme(dev.settings.scheme)?.m ?? 0;
  if (lacking.length < spare) return;
  throw new CliError(
    `without data ${target.index} files may be lost, as ${lacking.length} other server(s) of group ${target.group} are away or still recovering; wait until 'cpfs dev status --state ${dev.state}' says ready, or use --force`,
    EXIT.refused,
  );
}
