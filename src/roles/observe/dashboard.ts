interface Query {
  expr: string;
  legend: string;
}
export interface Panel {
  title: string;
  /** Of Grafana: s, bytes, Bps, ops … */
  unit: string;
  queries: readonly Query[];
  /** One number in place of a curve. */
  stat?: true;
}

const BY = '{{instance}}';
const quantile = (metric: string): string =>
  `histogram_quantile(0.99, sum by (operation, le) (rate(${metric}_bucket[$__rate_interval])))`;
const rate = (metric: string, by: string): string =>
  `sum by (${by}) (rate(${metric}[$__rate_interval]))`;
const one = (title: string, unit: string, expr: string, legend = BY): Panel => ({
  title,
  unit,
  queries: [{expr, legend}],
});
const stat = (title: string, expr: string, unit = 'short'): Panel => ({
  ...one(title, unit, expr, ''),
  stat: true,
});

/** Rows of the dashboard. */
export const DASHBOARD: readonly (readonly [string, readonly Panel[]])[] = [
  [
    'Cluster',
    [
      stat('Active meta servers', 'sum(cpfs_meta_active)'),
      stat('Standbys in sync', 'sum(cpfs_meta_standbys{state="in-sync"})'),
      stat('Groups that are not ready', 'sum(cpfs_meta_groups{state!="ready"})'),
      stat('Slots away', 'sum(cpfs_meta_slots{state="away"})'),
      stat('Spares', 'sum(cpfs_meta_spares)'),
      stat('Blocks lost', 'sum(cpfs_meta_scrub_blocks{found="lost"})'),
      stat('Clients', 'sum(cpfs_meta_sessions)'),
      stat('Objects', 'sum(cpfs_meta_files)'),
      one('Groups', 'short', 'sum by (state) (cpfs_meta_groups)', '{{state}}'),
      one('Chunks to rebuild', 'short', 'sum(cpfs_meta_recovery_left)', 'left'),
      one(
        'Free space of data servers',
        'percentunit',
        'cpfs_meta_server_free_bytes / cpfs_meta_server_total_bytes',
        '{{group}}.{{slot}} {{address}}',
      ),
      one('Leases and open files', 'short', 'sum(cpfs_meta_leases)', 'leases'),
    ],
  ],
  [
    'Mounts',
    [
      one(
        'Operations',
        'ops',
        rate('cpfs_mount_operation_duration_seconds_count', 'operation'),
        '{{operation}}',
      ),
      one(
        'Duration, 99 of 100',
        's',
        quantile('cpfs_mount_operation_duration_seconds'),
        '{{operation}}',
      ),
      one(
        'Bytes to and from data servers',
        'Bps',
        rate('cpfs_mount_payload_bytes_total', 'instance, direction'),
        `${BY} {{direction}}`,
      ),
      one(
        'Write cache in use',
        'percentunit',
        'cpfs_mount_dirty_bytes / cpfs_mount_dirty_limit_bytes',
      ),
      one('Requests that wait', 'short', 'cpfs_mount_operations_waiting'),
      one('Recalls', 'ops', rate('cpfs_mount_recalls_total', 'instance')),
      one('Stripes written', 'ops', rate('cpfs_mount_stripes_written_total', 'how'), '{{how}}'),
    ],
  ],
  [
    'Meta servers',
    [
      one(
        'Requests',
        'ops',
        rate('cpfs_request_duration_seconds_count{operation=~"meta.*"}', 'operation'),
        '{{operation}}',
      ),
      one(
        'Duration, 99 of 100',
        's',
        'histogram_quantile(0.99, sum by (operation, le) (rate(cpfs_request_duration_seconds_bucket{operation=~"meta.*"}[$__rate_interval])))',
        '{{operation}}',
      ),
      one('Records of the log', 'ops', 'rate(cpfs_meta_log_sequence[$__rate_interval])'),
      one(
        'Records that standbys lack',
        'short',
        'max by (standby) (cpfs_meta_standby_lag_records)',
        '{{standby}}',
      ),
      one('Coordinator away', 's', 'cpfs_meta_coordinator_away_seconds'),
    ],
  ],
  [
    'Data servers',
    [
      one(
        'Requests',
        'ops',
        rate('cpfs_request_duration_seconds_count{operation=~"data.*"}', 'operation'),
        '{{operation}}',
      ),
      one(
        'Duration, 99 of 100',
        's',
        'histogram_quantile(0.99, sum by (operation, le) (rate(cpfs_request_duration_seconds_bucket{operation=~"data.*"}[$__rate_interval])))',
        '{{operation}}',
      ),
      one(
        'Bytes of files',
        'Bps',
        rate('cpfs_data_payload_bytes_total', 'instance, direction'),
        `${BY} {{direction}}`,
      ),
      one('Recovery', 'Bps', 'cpfs_data_recovery_bytes_per_second'),
      one('Bad blocks in a day', 'short', 'increase(cpfs_data_bad_blocks_total[1d])'),
      one('Scrub', 'percentunit', 'cpfs_data_scrub_progress_ratio'),
    ],
  ],
  [
    'Processes',
    [
      one('CPU', 'percentunit', rate('cpfs_process_cpu_seconds_total', 'instance')),
      one(
        'Event loop',
        'percentunit',
        'rate(cpfs_event_loop_busy_seconds_total[$__rate_interval])',
      ),
      one('Memory', 'bytes', 'cpfs_process_resident_bytes'),
      one(
        'Network',
        'Bps',
        rate('cpfs_network_bytes_total', 'instance, direction'),
        `${BY} {{direction}}`,
      ),
      one(
        'Own requests that failed',
        'ops',
        rate('cpfs_calls_failed_total', 'instance, operation'),
        `${BY} {{operation}}`,
      ),
      one('Requests that wait', 'short', 'cpfs_requests_waiting + cpfs_calls_waiting'),
    ],
  ],
];

const WIDTH = 24;
const DATASOURCE = {type: 'prometheus', uid: '$datasource'};

/** packaging/grafana/cpfs.json: to be imported into Grafana 9 or newer. */
export function dashboard(): string {
  const panels: object[] = [];
  let y = 0;
  const add = (panel: Panel, x: number, width: number, height: number): void => {
    panels.push({
      id: panels.length + 1,
      title: panel.title,
      type: panel.stat === true ? 'stat' : 'timeseries',
      datasource: DATASOURCE,
      gridPos: {x, y, w: width, h: height},
      fieldConfig: {defaults: {unit: panel.unit, min: 0}, overrides: []},
      targets: panel.queries.map(({expr, legend}, i) => ({
        refId: String.fromCharCode(65 + i),
        datasource: DATASOURCE,
        expr,
        legendFormat: legend,
      })),
    });
  };
  for (const [title, row] of DASHBOARD) {
    panels.push({
      id: panels.length + 1,
      type: 'row',
      title,
      collapsed: false,
      gridPos: {x: 0, y, w: WIDTH, h: 1},
      panels: [],
    });
    y++;
    const place = (some: readonly Panel[], inRow: number, height: number): void => {
      for (const [i, panel] of some.entries()) {
        add(panel, (i % inRow) * (WIDTH / inRow), WIDTH / inRow, height);
        if (i % inRow === inRow - 1 || i === some.length - 1) y += height;
      }
    };
    place(
      row.filter((panel) => panel.stat === true),
      8,
      4,
    );
    place(
      row.filter((panel) => panel.stat !== true),
      2,
      8,
    );
  }
  const variable = {name: 'datasource', type: 'datasource', query: 'prometheus', current: {}};
  const made = {
    title: 'cpfs',
    uid: 'cpfs',
    description: 'Written by src/roles/observe/dashboard.ts; a test keeps it up to date.',
    tags: ['cpfs'],
    schemaVersion: 38,
    version: 1,
    refresh: '30s',
    time: {from: 'now-6h', to: 'now'},
    templating: {list: [variable]},
    panels,
  };
  return `${JSON.stringify(made, null, 2)}\n`;
}
