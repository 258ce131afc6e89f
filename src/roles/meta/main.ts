import type {Member} from '../../core/base/coordinator-keys.js';
import type {CoordinatorUrl} from '../../core/base/coordinator-url.js';
import type {Durability} from '../../core/base/durability.js';
import {messageOf} from '../../core/base/errors.js';
import type {Ms} from '../../core/base/ids.js';
import {CLUSTER_TIMING} from '../../core/cluster/control-api.js';
import type {Coordinator} from '../../core/env/coordinator.js';
import type {Layout} from '../../core/layout/scheme.js';
import {Appointment} from '../../core/meta/appointment.js';
import {Election} from '../../core/meta/election.js';
import {MetaNode} from '../../core/meta/node.js';
import {MetaServer} from '../../core/meta/server.js';
import type {Succession} from '../../core/meta/succession.js';
import type {Joining} from '../../core/meta/tokens.js';
import {LogLevels} from '../../core/os/log-levels.js';
import {CliError, EXIT} from '../cli-error.js';
import {type LiveSettings, reloadAtHangup} from '../config/live.js';
import {dieOnBugs, keepHeapSmall, untilSignal, within} from '../lifecycle.js';
import {dumpAtSignal} from '../observe/dump.js';
import {metaChecks, metaSamples} from '../observe/meta.js';
import {observe} from '../observe/observe.js';
import {notifyReady} from '../ready.js';
import {roleLog, serverEnv} from '../real-env.js';
import {hintWithoutKeys} from '../security.js';
import {logStatsWhenAsked} from '../stats.js';
import {ProcessSteering} from '../steering.js';
import {Supervisor} from '../supervisor.js';
import {openCoordinator} from './coordinator.js';
import {joiningByKeys} from './joining.js';

export interface MetaRole extends LiveSettings {
  io: 'io_uring' | 'threads';
  state: string;
  listen: string;
  /** Where others reach it; null: where it listens. */
  advertise: string | null;
  /** Of new clusters; an existing store keeps its own. */
  rootLayout: Omit<Layout, 'groups' | 'generation'>;
  groupSize: number;
  anyDomain: boolean;
  outAfterMs: number;
  /** Who decides which of several is active; null: nobody, or an administrator. */
  coordinator: CoordinatorUrl | null;
  /** The active meta server that this one is to copy; null: it may be the first. */
  join: string | null;
  /** Data servers keep copies of files that lie in the metadata. */
  inlineBackup: boolean;
  /** So long after its last sign of life an active server is not it any more, with a coordinator. */
  failoverMs: Ms;
  durability: Durability;
}

/** Inline bytes on their way in and out. */
const POOL = {small: 256, medium: 32, large: 16};
const STOP_MS = 20_000;

/** Runs until SIGTERM or SIGINT. */
export async function runMeta(role: MetaRole): Promise<void> {
  const levels = new LogLevels(role.logLevel);
  const log = roleLog('meta', role.listen, levels);
  dieOnBugs(log);
  await reloadAtHangup(log, role, (settings) => levels.configure(settings.get('log.level')));
  keepHeapSmall();
  const supervisor = new Supervisor(log);
  const env = await serverEnv(log, POOL, role.state, {store: true, io: role.io}).catch((error) => {
    throw new CliError(
      `cannot use ${role.state}: ${messageOf(error)}; does another meta server run on it?`,
      EXIT.conflict,
    );
  });
  const steering = new ProcessSteering(levels);
  env.steering = steering;
  dumpAtSignal(log, env);
  const {listen, advertise, rootLayout, groupSize, anyDomain, outAfterMs} = role;
  const {durability, inlineBackup} = role;
  const options = {
    address: listen,
    rootLayout: {...rootLayout, groupCount: 1},
    groupSize,
    anyDomain,
    timing: {...CLUSTER_TIMING, outAfterMs},
    durability,
    backtraces: {inline: inlineBackup},
    ...joiningOptions(),
    onFailed: (error: unknown) => {
      log.error('meta.failed', {error: messageOf(error)});
      process.exit(EXIT.failed);
    },
  };
  const {join} = role;
  const opened: Coordinator[] = [];
  const succession = async (
    self: Member,
    address: string,
    changed: () => void,
  ): Promise<Succession> => {
    if (role.coordinator === null) return Appointment.open(env.disk, join!, self);
    const coordinator = await openCoordinator(role.coordinator, env.clock);
    opened.push(coordinator);
    const {prefix} = role.coordinator;
    const founder = join === null;
    const election = {prefix, self, address, ttlMs: role.failoverMs, founder, durability};
    return new Election(env, coordinator, election, changed);
  };
  const alone = role.coordinator === null && join === null;
  let started: MetaServer | MetaNode | null = null;
  const admin = await observe(log, env, levels, {
    role: 'meta',
    admin: role.admin,
    id: listen,
    state: role.state,
    checks: () => metaChecks(started),
    samples: (samples) => metaSamples(samples, started),
  });
  const server = alone
    ? new MetaServer(env, options)
    : new MetaNode(env, {...options, advertise, succession});
  await server.start().catch((error: unknown) => {
    if (error instanceof CliError) throw error;
    throw new CliError(
      `cannot start on ${listen}: ${messageOf(error)}; is the port in use? name another with --listen`,
      EXIT.conflict,
    );
  });
  started = server;
  const {address} = server;
  logStatsWhenAsked(log, env.net, () => ({}));
  log.info('meta.ready', {address});
  hintWithoutKeys(log, address);
  const signalled = Promise.race([untilSignal(), steering.stopAsked]);
  notifyReady({address, ...(admin === null ? {} : {admin: admin.address})});
  supervisor.ready();
  const signal = await signalled;
  log.info('meta.stopping', {signal});
  supervisor.stopping();
  started = null;
  await within(STOP_MS, server.stop());
  await within(STOP_MS, Promise.all([env.kv, env.disk, ...opened].map((one) => one.close())));
  process.exit(EXIT.ok);
}

function joiningOptions(): {joining?: Joining} {
  const joining = joiningByKeys();
  return joining === null ? {} : {joining};
}
