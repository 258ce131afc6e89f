/** Which process has a metric. */
export type MetricRole = 'meta' | 'data' | 'mount';

export interface MetricRow {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly labels: readonly string[];
  readonly help: string;
  readonly roles: readonly MetricRole[];
}

const ALL: readonly MetricRole[] = ['meta', 'data', 'mount'];
const SERVERS: readonly MetricRole[] = ['meta', 'data'];
const row = (
  roles: readonly MetricRole[],
  type: MetricRow['type'],
  help: string,
  ...labels: string[]
): MetricRow => ({type, labels, help, roles});

/** Every metric there is: what /metrics has, docs/metrics.md says, and dashboards and alerts may use. */
export const METRICS = {
  cpfs_build_info: row(ALL, 'gauge', '1; its labels say what runs', 'role', 'release'),
  cpfs_process_start_time_seconds: row(ALL, 'gauge', 'When the process started, since 1970'),
  cpfs_process_cpu_seconds_total: row(ALL, 'counter', 'CPU time of the process', 'mode'),
  cpfs_process_resident_bytes: row(ALL, 'gauge', 'Memory of the process'),
  cpfs_process_heap_bytes: row(ALL, 'gauge', 'Of it, what JavaScript objects use'),
  cpfs_event_loop_busy_seconds_total: row(
    ALL,
    'counter',
    'Time in which the event loop worked, and did not wait',
  ),
  cpfs_buffers_used: row(ALL, 'gauge', 'Slots of the payload memory in use'),
  cpfs_network_bytes_total: row(
    ALL,
    'counter',
    'Bytes of messages between processes of cpfs',
    'direction',
  ),
  cpfs_network_messages_total: row(
    ALL,
    'counter',
    'Messages between processes of cpfs',
    'direction',
  ),
  cpfs_log_level_info: row(ALL, 'gauge', '1; its label is what is logged', 'level'),

  cpfs_request_duration_seconds: row(
    ALL,
    'histogram',
    'How long requests of other processes took',
    'operation',
  ),
  cpfs_requests_failed_total: row(
    ALL,
    'counter',
    'Requests of other processes that were answered with an error',
    'operation',
  ),
  cpfs_requests_waiting: row(ALL, 'gauge', 'Requests of other processes that have no answer yet'),
  cpfs_requests_oldest_seconds: row(
    ALL,
    'gauge',
    'For how long the oldest of them has been waiting, but for those that wait for locks',
  ),
  cpfs_call_duration_seconds: row(
    ALL,
    'histogram',
    'How long own requests to other processes took',
    'operation',
  ),
  cpfs_calls_failed_total: row(
    ALL,
    'counter',
    'Own requests that were answered with an error, or not at all',
    'operation',
  ),
  cpfs_calls_waiting: row(ALL, 'gauge', 'Own requests that have no answer yet'),
  cpfs_calls_oldest_seconds: row(
    ALL,
    'gauge',
    'For how long the oldest of them has been waiting, but for those that wait for locks',
  ),

  cpfs_disk_total_bytes: row(
    SERVERS,
    'gauge',
    'Size of the file system that has the folder of the server',
  ),
  cpfs_disk_free_bytes: row(SERVERS, 'gauge', 'What is free of it for the server'),

  cpfs_meta_active: row(['meta'], 'gauge', '1: it is the active meta server; 0: a standby'),
  cpfs_meta_term: row(['meta'], 'gauge', 'Term of the active meta server'),
  cpfs_meta_log_sequence: row(['meta'], 'gauge', 'Last record of the log that it has'),
  cpfs_meta_in_sync: row(
    ['meta'],
    'gauge',
    'Of a standby: 1 if nothing is answered that it does not have',
  ),
  cpfs_meta_heard_seconds: row(
    ['meta'],
    'gauge',
    'Of a standby: for how long it has heard nothing of the active one',
  ),
  cpfs_meta_coordinator_away_seconds: row(
    ['meta'],
    'gauge',
    'For how long the coordinator has not been reached',
  ),
  cpfs_meta_standbys: row(
    ['meta'],
    'gauge',
    'Standbys that are connected to the active one',
    'state',
  ),
  cpfs_meta_standby_lag_records: row(
    ['meta'],
    'gauge',
    'Records of the log that a standby does not have yet',
    'standby',
  ),
  cpfs_meta_files: row(['meta'], 'gauge', 'Objects of the namespace'),
  cpfs_meta_sessions: row(['meta'], 'gauge', 'Clients that the active one knows'),
  cpfs_meta_leases: row(['meta'], 'gauge', 'Leases that clients hold'),
  cpfs_meta_opens: row(['meta'], 'gauge', 'Open files that clients have told of'),
  cpfs_meta_map_epoch: row(['meta'], 'gauge', 'Epoch of the cluster map'),
  cpfs_meta_groups: row(['meta'], 'gauge', 'Groups of data servers', 'state'),
  cpfs_meta_slots: row(['meta'], 'gauge', 'Slots of groups', 'state'),
  cpfs_meta_spares: row(['meta'], 'gauge', 'Data servers without a slot'),
  cpfs_meta_recovery_left: row(
    ['meta'],
    'gauge',
    'Chunks that recovering servers have yet to rebuild, and checks that were not carried out yet',
  ),
  cpfs_meta_recovery_paused: row(['meta'], 'gauge', '1: an administrator has stopped recoveries'),
  cpfs_meta_server_total_bytes: row(
    ['meta'],
    'gauge',
    'Size of the disk of a data server',
    'group',
    'slot',
    'address',
  ),
  cpfs_meta_server_free_bytes: row(
    ['meta'],
    'gauge',
    'What is free of it',
    'group',
    'slot',
    'address',
  ),
  cpfs_meta_server_connected: row(
    ['meta'],
    'gauge',
    '1: the data server is connected',
    'group',
    'slot',
    'address',
  ),
  cpfs_meta_scrub_running: row(['meta'], 'gauge', 'Data servers that are in a pass'),
  cpfs_meta_scrub_paused: row(['meta'], 'gauge', '1: an administrator has stopped scrubbing'),
  cpfs_meta_scrub_blocks: row(
    ['meta'],
    'gauge',
    'Blocks that the last passes of all data servers found bad, made good, or lost',
    'found',
  ),

  cpfs_data_ready: row(['data'], 'gauge', '1: its slot is ready; 0: it waits, is away or recovers'),
  cpfs_data_meta_connected: row(['data'], 'gauge', '1: it is connected to the active meta server'),
  cpfs_data_map_epoch: row(['data'], 'gauge', 'Epoch of the cluster map that it obeys'),
  cpfs_data_payload_bytes_total: row(
    ['data'],
    'counter',
    'Bytes of files that it took and gave',
    'direction',
  ),
  cpfs_data_syncs_total: row(['data'], 'counter', 'Times that it made writes durable for somebody'),
  cpfs_data_sum_errors_total: row(
    ['data'],
    'counter',
    'Payloads that did not have the sums they came with',
  ),
  cpfs_data_bad_blocks_total: row(['data'], 'counter', 'Blocks that failed their sum at rest'),
  cpfs_data_read_copy_reads_total: row(['data'], 'counter', 'Reads that read copies answered'),
  cpfs_data_recovery_left: row(['data'], 'gauge', 'Chunks that it has yet to rebuild'),
  cpfs_data_recovery_bytes_per_second: row(['data'], 'gauge', 'What its recovery moves, of late'),
  cpfs_data_doubts: row(['data'], 'gauge', 'Chunks that are in doubt until they have been checked'),
  cpfs_data_scrub_progress_ratio: row(['data'], 'gauge', 'How far the pass is; 0: none runs'),
  cpfs_data_scrub_blocks: row(
    ['data'],
    'gauge',
    'Blocks that its last pass found bad, made good, or lost',
    'found',
  ),
  cpfs_data_scrub_last_pass_seconds: row(
    ['data'],
    'gauge',
    'When its last complete pass ended, since 1970; 0: there was none',
  ),

  cpfs_mount_operation_duration_seconds: row(
    ['mount'],
    'histogram',
    'How long requests of the kernel took',
    'operation',
  ),
  cpfs_mount_operations_failed_total: row(
    ['mount'],
    'counter',
    'Requests of the kernel that were answered with an error',
    'operation',
  ),
  cpfs_mount_operations_waiting: row(
    ['mount'],
    'gauge',
    'Requests of the kernel that have no answer yet',
  ),
  cpfs_mount_operations_oldest_seconds: row(
    ['mount'],
    'gauge',
    'For how long the oldest of them has been waiting, but for those that wait for locks',
  ),
  cpfs_mount_connected: row(['mount'], 'gauge', '1: its session with the meta server is valid'),
  cpfs_mount_dirty_bytes: row(
    ['mount'],
    'gauge',
    'Memory of what was written and is not with the servers yet',
  ),
  cpfs_mount_dirty_limit_bytes: row(['mount'], 'gauge', 'What it may be at most'),
  cpfs_mount_payload_bytes_total: row(
    ['mount'],
    'counter',
    'Bytes to and from data servers',
    'direction',
  ),
  cpfs_mount_read_ahead_bytes_total: row(
    ['mount'],
    'counter',
    'Bytes that programs got of what had been read ahead',
  ),
  cpfs_mount_stripes_written_total: row(
    ['mount'],
    'counter',
    'Stripes written: whole, in part, or by what changed',
    'how',
  ),
  cpfs_mount_blocks_total: row(
    ['mount'],
    'counter',
    'Blocks that were bad, were made again from others, or were mended',
    'what',
  ),
  cpfs_mount_leases_total: row(['mount'], 'counter', 'Leases that it was given'),
  cpfs_mount_recalls_total: row(['mount'], 'counter', 'Leases that it was asked to give back'),
  cpfs_mount_read_copy_reads_total: row(['mount'], 'counter', 'Reads that a read copy answered'),
} as const satisfies Record<string, MetricRow>;

export type MetricName = keyof typeof METRICS;
export const METRIC_NAMES = Object.keys(METRICS) as MetricName[];
export const metricOf = (name: MetricName): MetricRow => METRICS[name];

const TITLES: Record<MetricRole, string> = {
  meta: 'Meta servers',
  data: 'Data servers',
  mount: 'Mounts',
};

/** docs/metrics.md. */
export function metricsDocument(): string {
  const table = (names: readonly MetricName[]) => [
    '| name | type | labels | |',
    '| --- | --- | --- | --- |',
    ...names.map((name) => {
      const {type, labels, help, roles} = metricOf(name);
      const only = roles.length === 2 ? ' (servers)' : '';
      return `| `.concat(`\`${name}\` | ${type} | ${labels.join(', ')} | ${help}${only}. |`);
    }),
  ];
  const of = (role: MetricRole) =>
    METRIC_NAMES.filter(
      (name) => metricOf(name).roles.length === 1 && metricOf(name).roles[0] === role,
    );
  const sections = (Object.keys(TITLES) as MetricRole[]).flatMap((role) => [
    '',
    `## ${TITLES[role]}`,
    '',
    ...table(of(role)),
  ]);
  const common = METRIC_NAMES.filter((name) => metricOf(name).roles.length > 1);
  return `${[
    '# Health and metrics',
    '',
    '<!-- Written by the list of metrics (src/roles/observe/list.ts); a test keeps it up to date. -->',
    '',
    ...INTRODUCTION,
    '',
    '## All',
    '',
    ...table(common),
    ...sections,
  ].join('\n')}\n`;
}

const INTRODUCTION = [
  'Meta servers, data servers and mounts have an HTTP port for those who watch them, if they are told to: `--admin HOST:PORT`, or `meta.admin`, `data.admin` and `mount.admin` in',
  '[the configuration](config.md); `on` is 127.0.0.1:7402. It is read-only, and whoever reaches it may ask: let nobody but the monitoring reach it.',
  '',
  '- `/livez`: 200 as long as the process answers at all.',
  '- `/readyz`: 200 if it serves, else 503; `/readyz?verbose` lists what was looked at.',
  '- `/metrics`: for Prometheus; all that is below. What a request costs does not depend on it: it is counted anyway, and put into words when somebody asks.',
  '- `/version`: JSON.',
  '',
  'Durations of requests begin when a message has been read, and end when its answer is given to the connection: on the meta server answers may wait there for standbys. Names and labels are',
  'an interface: they are added, and not changed without a release in which both are there. A dashboard for Grafana and alert rules for Prometheus are in `packaging/`.',
];
