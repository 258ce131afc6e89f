import {messageOf} from '../../core/base/errors.js';
import {CLUSTER_TIMING} from '../../core/cluster/control-api.js';
import type {Layout} from '../../core/layout/scheme.js';
import {MetaServer} from '../../core/meta/server.js';
import {CliError, EXIT} from '../cli-error.js';
import {dieOnBugs, keepHeapSmall, untilSignal, within} from '../lifecycle.js';
import {notifyReady} from '../ready.js';
import {roleLog, serverEnv} from '../real-env.js';
import {RELEASE} from '../release.js';
import {logStatsWhenAsked} from '../stats.js';

export interface MetaRole {
  state: string;
  listen: string;
  /** Of new clusters; an existing store keeps its own. */
  rootLayout: Omit<Layout, 'groups' | 'generation'>;
  groupSize: number;
  anyDomain: boolean;
  outAfterMs: number;
}

/** Inline bytes on their way in and out. */
const POOL = {small: 256, medium: 32, large: 16};
const STOP_MS = 20_000;

/** Runs until SIGTERM or SIGINT. */
export async function runMeta(role: MetaRole): Promise<void> {
  const log = roleLog('meta', role.listen);
  dieOnBugs(log);
  keepHeapSmall();
  const env = await serverEnv(log, POOL, role.state, {store: true}).catch((error) => {
    throw new CliError(
      `cannot use ${role.state}: ${messageOf(error)}; does another meta server run on it?`,
      EXIT.conflict,
    );
  });
  const {listen, rootLayout, groupSize, anyDomain, outAfterMs} = role;
  const server = new MetaServer(env, {
    address: listen,
    rootLayout: {...rootLayout, groupCount: 1},
    groupSize,
    anyDomain,
    timing: {...CLUSTER_TIMING, outAfterMs},
    backtraces: true,
    release: RELEASE,
    onFailed: (error) => {
      log.error('meta.failed', {error: messageOf(error)});
      process.exit(EXIT.failed);
    },
  });
  await server.start().catch((error: unknown) => {
    throw new CliError(
      `cannot start on ${listen}: ${messageOf(error)}; is the port in use? name another with --listen`,
      EXIT.conflict,
    );
  });
  const {address} = server;
  logStatsWhenAsked(log, env.net, () => ({}));
  log.info('meta.ready', {address});
  notifyReady({address});
  const signal = await untilSignal();
  log.info('meta.stopping', {signal});
  await within(STOP_MS, server.stop());
  await within(STOP_MS, Promise.all([env.kv.close(), env.disk.close()]));
  process.exit(EXIT.ok);
}
