import {FsError, messageOf} from '../../core/base/errors.js';
import {CopyAgent} from '../../core/client/copy-agent.js';
import {MoveAgent} from '../../core/client/move-agent.js';
import {RepairAgent} from '../../core/client/repair-agent.js';
import {ScrubAgent} from '../../core/client/scrub-agent.js';
import {DataServer} from '../../core/data/server.js';
import {LogLevels} from '../../core/os/log-levels.js';
import {CliError, EXIT} from '../cli-error.js';
import {type LiveSettings, reloadAtHangup} from '../config/live.js';
import {dieOnBugs, keepHeapSmall, untilSignal, within} from '../lifecycle.js';
import {dataChecks, dataSamples} from '../observe/data.js';
import {dumpAtSignal} from '../observe/dump.js';
import {observe} from '../observe/observe.js';
import {notifyReady} from '../ready.js';
import {roleLog, serverEnv} from '../real-env.js';
import {hintWithoutKeys} from '../security.js';
import {logStatsWhenAsked} from '../stats.js';
import {ProcessSteering} from '../steering.js';
import {Supervisor} from '../supervisor.js';

export interface DataRole extends LiveSettings {
  io: 'io_uring' | 'threads';
  state: string;
  listen: string;
  meta: string;
  /** 0: it waits until it is given a slot. */
  group: number;
  /** Without a group: one of a new group, too. */
  auto: boolean;
  domain: string;
  location: string;
  direct: boolean;
  /** Seconds; see DataServerOptions.leakGraceMs. */
  leakGrace: number;
}

const POOL = {small: 1024, medium: 128, large: 96};
const STOP_MS = 20_000;

function unusable(state: string, error: unknown): CliError {
  if (error instanceof FsError && error.errno === 'EINVAL') {
    return new CliError(
      `${messageOf(error)}; start without --direct, or use another disk`,
      EXIT.refused,
    );
  }
  return new CliError(
    `cannot use ${state}: ${messageOf(error)}; does another data server run on it?`,
    EXIT.conflict,
  );
}

export async function runData(role: DataRole): Promise<void> {
  const levels = new LogLevels(role.logLevel);
  const log = roleLog('data', role.listen, levels);
  dieOnBugs(log);
  await reloadAtHangup(log, role, (settings) => levels.configure(settings.get('log.level')));
  keepHeapSmall();
  const supervisor = new Supervisor(log);
  const env = await serverEnv(log, POOL, role.state, {direct: role.direct, io: role.io}).catch(
    (error) => {
      throw unusable(role.state, error);
    },
  );
  const scrubAgent: ScrubAgent = new ScrubAgent(env, role.meta, {
    group: () => server.group,
    slot: () => server.slot,
    uuid: () => server.uuid,
  });
  const steering = new ProcessSteering(levels);
  env.steering = steering;
  dumpAtSignal(log, env);
  const copyAgent: CopyAgent = new CopyAgent(env, role.meta, () => server.uuid);
  const mover: MoveAgent = new MoveAgent(env, role.meta, {
    name: () => `${server.group}.${server.slot}`,
    uuid: () => server.uuid,
  });
  const server: DataServer = new DataServer(env, {
    group: role.group,
    auto: role.auto,
    domain: role.domain,
    location: role.location,
    metaAddress: role.meta,
    listen: role.listen,
    io: env.io,
    leakGraceMs: role.leakGrace * 1000,
    onMap: (map, slot) => agent.onMap(map, slot),
    onMoves: (order) => mover.ordered(order),
    onResync: (order) => agent.onResync(order),
    scrubPeers: scrubAgent,
    readCopies: copyAgent,
  });
  const agent = new RepairAgent(env, role.meta, {
    group: () => server.group,
    uuid: () => server.uuid,
    intents: () => server.startIntents,
    whole: () => server.whole || server.tookOver,
    recovered: (epoch) => server.recovered(epoch),
    resyncDone: (order) => server.resyncDone(order),
    order: () => server.recoveryOrder,
    progress: (left, speed) => server.recoveryProgress(left, speed),
  });
  let joined = false;
  const admin = await observe(log, env, levels, {
    role: 'data',
    admin: role.admin,
    id: role.listen,
    state: role.state,
    checks: () => dataChecks(server, joined),
    samples: (samples) => dataSamples(samples, server, joined),
  });
  const signalled = Promise.race([untilSignal(), steering.stopAsked]);
  const started = server.start().catch((error) => {
    throw new CliError(`cannot start on ${role.listen}: ${messageOf(error)}`, EXIT.failed);
  });
  const address = await Promise.race([started, signalled.then(() => null)]);
  // It waits for its meta server, and has done nothing for anybody.
  if (address === null) process.exit(EXIT.ok);
  joined = true;
  logStatsWhenAsked(log, env.net, () => ({...server.stats}));
  log.info('data.ready', {address, io: env.io});
  hintWithoutKeys(log, address);
  notifyReady({address, ...(admin === null ? {} : {admin: admin.address})});
  supervisor.ready();
  const signal = await signalled;
  log.info('data.stopping', {signal});
  supervisor.stopping();
  joined = false;
  await within(
    STOP_MS,
    Promise.all([agent.close(), mover.close(), scrubAgent.close(), copyAgent.close()]),
  );
  await within(STOP_MS, server.stop());
  await within(STOP_MS, env.disk.close());
  process.exit(EXIT.ok);
}
