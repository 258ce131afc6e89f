import {existsSync, statSync} from 'node:fs';
import {messageOf} from '../../core/base/errors.js';
import type {CacheOwner, Client} from '../../core/client/api.js';
import {type OpenedClient, openClient} from '../../core/client/index.js';
import {FuseDoor} from '../../core/door/fuse/door.js';
import {DeviceFuseChannel} from '../../core/os/fuse-channel.js';
import {LogLevels} from '../../core/os/log-levels.js';
import {
  abortConnection,
  cleanDeadMount,
  mountedOn,
  mountFuse,
  setReadAhead,
  unmount,
} from '../../core/os/mount-point.js';
import {isDying, ranFor} from '../../core/os/threads.js';
import {CliError, EXIT} from '../cli-error.js';
import {type LiveSettings, reloadAtHangup} from '../config/live.js';
import {dieOnBugs, keepHeapSmall, untilSignal, within} from '../lifecycle.js';
import {forgetMount, noteMount} from '../mounts.js';
import {dumpAtSignal} from '../observe/dump.js';
import {kernelOperation, mountChecks, mountSamples} from '../observe/mount.js';
import {observe} from '../observe/observe.js';
import {identify} from '../process.js';
import {LOG_FILE, notifyReady} from '../ready.js';
import {type ClientEnv, clientEnv, roleLog} from '../real-env.js';
import {nodeSecurity, readsOnly} from '../security.js';
import {logStatsWhenAsked} from '../stats.js';
import {ProcessSteering} from '../steering.js';
import {Supervisor} from '../supervisor.js';
import {chooseEngine, type Engine, type EngineWanted, engineSystem, optionsOf} from './engine.js';
import type {MountOptions} from './options.js';
import {portableDoor} from './portable.js';

export interface MountRole extends LiveSettings {
  /** Absolute. */
  dir: string;
  meta: string;
  /** What df and mount show; null: `cpfs:` and the meta servers. */
  source: string | null;
  options: MountOptions;
  engine: EngineWanted;
}

/** What the rest of the mount has of an engine. */
export interface MountDoor extends CacheOwner {
  /** How it was mounted. */
  by: string;
  /** Requests until now. */
  requests(): number;
  whenEnded(): Promise<number>;
  close(): void;
}

/** 1 MiB requests that the kernel may have with us, beyond the ones that wait in the dirty cache. */
const REQUEST_SLOTS = 32;
const RESERVE_SLOTS = 8;
const KIB = 1 << 10;
const MIB = 1 << 20;
const STOP_MS = 60_000;
/** With `coherence=close-to-open`: how old names and attributes may be. */
const LOOSE_MS = 3000;
/** How long programs that still use a mount keep it from being stopped. */
const LEAVE_MS = 3000;

function poolShape(dirtyBytesMax: number) {
  // Each dirty MiB may hold a whole request slot; reads and redundancy need as many again as the kernel has in flight. Of what is
  // copied half fits in two thirds of the medium ones.
  return {
    small: 1024,
    medium: 192 + Math.ceil(dirtyBytesMax / (256 * KIB)),
    large: Math.ceil(dirtyBytesMax / MIB) + 4 * REQUEST_SLOTS,
  };
}

function checkPlace(dir: string): void {
  if (!existsSync('/dev/fuse')) {
    throw new CliError(
      "/dev/fuse is missing; load the kernel's fuse module with 'modprobe fuse'",
      EXIT.failed,
    );
  }
  if (!existsSync(dir))
    throw new CliError(`${dir} is not there; make it with 'mkdir -p ${dir}'`, EXIT.notFound);
  if (!statSync(dir).isDirectory())
    throw new CliError(`${dir} is not a folder; name a folder to mount on`, EXIT.usage);
}

/** What `cpfs status` shows, with what is safe, or seen, later than by default, and what has fewer abilities. */
function sessionName(dir: string, engine: Engine, {durability, coherence}: MountOptions): string {
  const safe = durability === 'disk' ? '' : ` durability=${durability}`;
  const by = engine === 'kernel' ? '' : ` engine=${engine}`;
  return `mount:${dir}${safe}${coherence === 'strict' ? '' : ` coherence=${coherence}`}${by}`;
}

/** Mounts and serves until it is unmounted; SIGTERM and SIGINT unmount. */
export async function runMount(asked: MountRole): Promise<void> {
  const {dir, meta} = asked;
  const {engine, because} = chooseEngine(asked.engine, asked.options, engineSystem());
  const role = {...asked, options: optionsOf(engine, asked.options)};
  const {options} = role;
  const levels = new LogLevels(role.logLevel);
  const log = roleLog('mount', dir, levels);
  dieOnBugs(log);
  await reloadAtHangup(log, role, (settings) => levels.configure(settings.get('log.level')));
  keepHeapSmall();
  const supervisor = new Supervisor(log);
  if (because !== null) log.warn('mount.engine', {engine, because});
  await cleanDeadMount(dir);
  checkPlace(dir);
  const env = clientEnv(log, poolShape(options.dirtyBytesMax));
  const steering = new ProcessSteering(levels);
  env.steering = steering;
  dumpAtSignal(log, env, kernelOperation);
  // The client first: no mount point that hangs because nobody is behind it.
  let door = null as MountDoor | null;
  const client = await openClient(env, {
    meta,
    name: sessionName(dir, engine, options),
    location: options.location,
    dirtyBytesMax: options.dirtyBytesMax,
    readaheadBytes: options.cache === 'full' ? options.readaheadBytes : 0,
    keepBlocks: options.cache === 'full',
    inlineBytesMax: options.inlineBytesMax,
    writeback: options.writeback,
    // Who keeps no pages does not want them kept on this side of the kernel either.
    writeThrough: !options.writeback || options.cache !== 'full',
    cacheNames: options.cache !== 'none',
    unleasedNames: options.coherence === 'close-to-open',
    replicated: options.durability === 'replicated',
    waitOnFailure: options.waitOnFailure,
    cacheOwner: {
      invalidate: (...what) => door?.invalidate(...what) ?? Promise.resolve(),
      fenced: () => door?.fenced(),
      voidNames: () => door?.voidNames() ?? Promise.resolve(),
    },
  }).catch((error) => {
    throw new CliError(
      `the meta server ${meta} cannot be reached (${messageOf(error)}); is it running, and is the address right?`,
      EXIT.unavailable,
    );
  });
  let usable = false;
  const admin = await observe(log, env, levels, {
    role: 'mount',
    admin: role.admin,
    id: dir,
    state: null,
    checks: () => mountChecks(client, usable),
    samples: (samples) => mountSamples(samples, client, env.traffic!, env.clock.now()),
  });
  const open = engine === 'kernel' ? kernelDoor : portableDoor;
  await open(role, env, client, (opened) => {
    door = opened;
  });
  const place = await mountedOn(dir);
  if (place !== null) await setReadAhead(place.minor, options.readaheadBytes);
  noteMount({dir, meta, ...identify(process.pid), log: process.env[LOG_FILE]});
  logStatsWhenAsked(log, env.net, () => ({
    ...client.stats,
    slotsUsed: env.pool.used,
    smallSlotsFree: env.pool.freeCount(1),
    fuseRequests: door!.requests(),
  }));
  log.info('mount.ready', {dir, meta, by: door!.by});
  const signalled = Promise.race([untilSignal(), steering.stopAsked]);
  usable = true;
  notifyReady({dir, ...(admin === null ? {} : {admin: admin.address})});
  supervisor.ready();
  const stopped = signalled.then((signal) => {
    supervisor.stopping();
    return signal;
  });
  await serveUntilEnd(door!, client, role, place?.minor ?? null, log, stopped);
}

/** Mounts with the kernel's own channel. */
async function kernelDoor(
  {dir, source, meta, options}: MountRole,
  env: ClientEnv,
  client: OpenedClient,
  use: (door: MountDoor) => void,
): Promise<void> {
  const mounted = await mountFuse({
    dir,
    source: source ?? `cpfs:${meta}`,
    allowOther: options.allowOther,
    defaultPermissions: true,
    maxReadBytes: MIB,
    noSuid: options.noSuid,
    noDev: options.noDev,
    noExec: options.noExec,
  }).catch((error) => {
    throw new CliError(messageOf(error), EXIT.failed);
  });
  const channel = new DeviceFuseChannel(mounted.device, env.pool.memory);
  const door = new FuseDoor(channel, env, {
    readaheadBytes: options.readaheadBytes,
    readOnly: options.readOnly || readsOnly(nodeSecurity()),
    cache: options.cache,
    locks: options.locks,
    labels: options.selinux,
    looseMs: options.coherence === 'strict' || options.cache === 'none' ? 0 : LOOSE_MS,
    dying: isDying,
    ran: ranFor,
    slots: REQUEST_SLOTS,
    reserveSlots: RESERVE_SLOTS,
  });
  use({
    by: mounted.by,
    requests: () => Object.values(channel.stats().ops).reduce((sum, n) => sum + n, 0),
    invalidate: (...what) => door.invalidate(...what),
    fenced: () => door.fenced(),
    voidNames: () => door.voidNames(),
    whenEnded: () => door.whenEnded(),
    close: () => door.close(),
  });
  await door.serve(client, client.parts.session.root);
}

async function serveUntilEnd(
  door: MountDoor,
  client: Client,
  {dir}: MountRole,
  minor: number | null,
  log: ReturnType<typeof roleLog>,
  signalled: Promise<string>,
): Promise<void> {
  const ended = door.whenEnded();
  const stopped = signalled.then(async (signal) => {
    log.info('mount.stopping', {signal});
    // What is mounted there by now may be another one.
    if (await within(0, ended)) return ended;
    const failure = await unmount(dir, {lazy: true});
    if (failure !== null) log.warn('mount.unmount_failed', {failure});
    if (await within(LEAVE_MS, ended)) return ended;
    // Programs that are in it, or have files open, keep the kernel's connection. They get errors from now on.
    const aborted = minor !== null && (await abortConnection(minor));
    log.warn('mount.in_use', {aborted});
    return aborted && (await within(LEAVE_MS, ended)) ? ended : 0;
  });
  const errno = await Promise.race([ended, stopped]);
  log.info('mount.ended', {errno});
  const clean = await within(
    STOP_MS,
    client
      .close(STOP_MS)
      .catch((error: unknown) => log.error('mount.write_back_failed', {error: messageOf(error)})),
  );
  if (!clean) log.error('mount.write_back_late', {ms: STOP_MS});
  door.close();
  forgetMount(dir);
  process.exit(clean ? EXIT.ok : EXIT.timeout);
}
