import {statfs} from 'node:fs/promises';
import type {Log} from '../../core/env/log.js';
import type {LogLevels} from '../../core/os/log-levels.js';
import {operationName} from '../../core/transport/steer.js';
import type {ClientEnv} from '../real-env.js';
import type {AdminPort, Check} from './http.js';
import type {MetricRole} from './list.js';
import type {Samples} from './metrics.js';

export interface Observation {
  role: MetricRole;
  /** `off`, or where to listen. */
  admin: string;
  /** For /version. */
  id: string;
  /** Folder whose disk is looked at; null: it has none. */
  state: string | null;
  checks(): Check[];
  samples(samples: Samples): void;
}

/** Opens the port for those who watch, if there is to be one. Until then nothing of it is loaded. */
export async function observe(
  log: Log,
  env: ClientEnv,
  levels: LogLevels,
  what: Observation,
): Promise<AdminPort | null> {
  if (what.admin === 'off') return null;
  const {openAdminPort} = await import('./http.js');
  const {metricsText, processSamples} = await import('./metrics.js');
  const {role, id, state} = what;
  const collect = async (samples: Samples): Promise<void> => {
    processSamples(samples, role, env, levels, operationName);
    what.samples(samples);
    if (state === null) return;
    const {bsize, blocks, bavail} = await statfs(state);
    samples.set('cpfs_disk_total_bytes', bsize * blocks);
    samples.set('cpfs_disk_free_bytes', bsize * bavail);
  };
  return openAdminPort(what.admin, log, {
    checks: () => what.checks(),
    metrics: () => metricsText(role, collect),
    version: () => ({
      role,
      id,
      release: env.release?.name ?? '',
      node: process.version,
      pid: process.pid,
    }),
  });
}
