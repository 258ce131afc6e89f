import {performance} from 'node:perf_hooks';
import {type Metric, Registry} from 'prom-client';
import {LATENCY_BOUNDS_MS, type Requests} from '../../core/base/traffic.js';
import type {LogLevels} from '../../core/os/log-levels.js';
import type {ClientEnv} from '../real-env.js';
import {METRIC_NAMES, type MetricName, type MetricRole, metricOf} from './list.js';

type Labels = Record<string, string | number>;
interface Sample {
  labels: Labels;
  value: number;
  /** Of a histogram: which of its series. */
  metricName?: string;
}

/** What a scrape has found so far. */
export class Samples {
  readonly #byName = new Map<MetricName, Sample[]>();

  set(name: MetricName, value: number | boolean, labels: Labels = {}, metricName?: string): void {
    const samples = this.#byName.get(name) ?? [];
    samples.push({labels, value: Number(value), ...(metricName === undefined ? {} : {metricName})});
    this.#byName.set(name, samples);
  }

  of(name: MetricName): Sample[] {
    return this.#byName.get(name) ?? [];
  }

  /** Histogram, failures, what waits and for how long. `nameOf` says the operation of a kind. */
  requests(
    requests: Requests,
    nameOf: (kind: number) => string,
    now: number,
    names: Record<'durations' | 'failed' | 'waiting' | 'oldest', MetricName>,
  ): void {
    for (const [kind, {classes, sumMs, failed}] of requests.meter.kinds) {
      const operation = nameOf(kind);
      let count = 0;
      for (const [i, n] of classes.entries()) {
        count += n;
        const bound = LATENCY_BOUNDS_MS[i];
        const le = bound === undefined ? '+Inf' : String(bound / 1000);
        this.set(names.durations, count, {le, operation}, `${names.durations}_bucket`);
      }
      this.set(names.durations, sumMs / 1000, {operation}, `${names.durations}_sum`);
      this.set(names.durations, count, {operation}, `${names.durations}_count`);
      this.set(names.failed, failed, {operation});
    }
    let waiting = 0;
    let oldestMs = 0;
    for (const {kind, since} of requests.waiting()) {
      waiting++;
      // A lock may be held for days by somebody's leave.
      if (/^(meta\.lock|push\.lock-recall|setlkw)$/.test(nameOf(kind))) continue;
      oldestMs = Math.max(oldestMs, now - since);
    }
    this.set(names.waiting, waiting);
    this.set(names.oldest, oldestMs / 1000);
  }
}

/** The text for Prometheus of what `collect` finds at this moment. */
export async function metricsText(
  role: MetricRole,
  collect: (samples: Samples) => void | Promise<void>,
): Promise<string> {
  const samples = new Samples();
  await collect(samples);
  const registry = new Registry();
  for (const name of METRIC_NAMES) {
    const {type, help, roles} = metricOf(name);
    if (!roles.includes(role)) continue;
    const found = {name, help, type, values: samples.of(name), aggregator: 'sum'};
    // The library's own metrics are told of each change; these are read when they are asked for, and it only writes them down.
    registry.registerMetric({name, get: async () => found} as unknown as Metric);
  }
  return registry.metrics();
}

/** What every process has. */
export function processSamples(
  samples: Samples,
  role: MetricRole,
  env: Pick<ClientEnv, 'clock' | 'net' | 'pool' | 'release' | 'traffic'>,
  levels: LogLevels,
  operationOf: (kind: number) => string,
): void {
  const {user, system} = process.cpuUsage();
  const {rss, heapUsed} = process.memoryUsage();
  const {framesIn, framesOut, bytesIn, bytesOut} = env.net.stats;
  samples.set('cpfs_build_info', 1, {role, release: env.release?.name ?? ''});
  samples.set('cpfs_process_start_time_seconds', performance.timeOrigin / 1000);
  samples.set('cpfs_process_cpu_seconds_total', user / 1e6, {mode: 'user'});
  samples.set('cpfs_process_cpu_seconds_total', system / 1e6, {mode: 'system'});
  samples.set('cpfs_process_resident_bytes', rss);
  samples.set('cpfs_process_heap_bytes', heapUsed);
  const {active} = performance.eventLoopUtilization();
  samples.set('cpfs_event_loop_busy_seconds_total', active / 1000);
  samples.set('cpfs_buffers_used', env.pool.used);
  samples.set('cpfs_network_bytes_total', bytesIn, {direction: 'in'});
  samples.set('cpfs_network_bytes_total', bytesOut, {direction: 'out'});
  samples.set('cpfs_network_messages_total', framesIn, {direction: 'in'});
  samples.set('cpfs_network_messages_total', framesOut, {direction: 'out'});
  samples.set('cpfs_log_level_info', 1, {level: levels.levels});
  const now = env.clock.now();
  samples.requests(env.traffic!.served, operationOf, now, {
    durations: 'cpfs_request_duration_seconds',
    failed: 'cpfs_requests_failed_total',
    waiting: 'cpfs_requests_waiting',
    oldest: 'cpfs_requests_oldest_seconds',
  });
  samples.requests(env.traffic!.called, operationOf, now, {
    durations: 'cpfs_call_duration_seconds',
    failed: 'cpfs_calls_failed_total',
    waiting: 'cpfs_calls_waiting',
    oldest: 'cpfs_calls_oldest_seconds',
  });
}
