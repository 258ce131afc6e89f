interface Alert {
  name: string;
  expr: string;
  /** For how long it must be so. */
  for: string;
  severity: 'critical' | 'warning';
  /** One sentence about what it is, one about what to do. */
  summary: string;
  next: string;
}

const FREE_MIN = 0.1;

export const ALERTS: readonly Alert[] = [
  {
    name: 'CpfsProcessDown',
    expr: 'up{job="cpfs"} == 0',
    for: '2m',
    severity: 'warning',
    summary: '{{ $labels.instance }} does not answer.',
    next: "Look at the process and its log; 'cpfs status' says what the cluster lacks.",
  },
  {
    name: 'CpfsNoActiveMeta',
    expr: 'sum(cpfs_meta_active) < 1 or absent(cpfs_meta_active)',
    for: '30s',
    severity: 'critical',
    summary: 'No meta server is active: the file system waits.',
    next: "'cpfs meta status' says why none of them takes over.",
  },
  {
    name: 'CpfsGroupFailed',
    expr: 'cpfs_meta_groups{state="failed"} > 0',
    for: '0m',
    severity: 'critical',
    summary: '{{ $value }} groups lack more servers than they have redundancy.',
    next: "Bring back the servers that 'cpfs status' shows as away.",
  },
  {
    name: 'CpfsGroupDegraded',
    expr: 'cpfs_meta_groups{state=~"degraded|recovering"} > 0',
    for: '15m',
    severity: 'warning',
    summary: '{{ $value }} groups have less redundancy than they should.',
    next: "'cpfs status' shows which slots; 'cpfs recovery status' how far recoveries are.",
  },
  {
    name: 'CpfsSlotAway',
    expr: 'cpfs_meta_slots{state="away"} > 0 and on () sum(cpfs_meta_spares) < 1',
    for: '5m',
    severity: 'warning',
    summary: '{{ $value }} data servers are away, and no spare is there to take their slots.',
    next: "Start them, or a server with --spare; 'cpfs data list' shows them.",
  },
  {
    name: 'CpfsNoStandbyInSync',
    expr: 'sum(cpfs_meta_standbys{state="in-sync"}) < 1 and on () count(cpfs_meta_active) > 1',
    for: '5m',
    severity: 'warning',
    summary: 'No standby has everything: none could take over.',
    next: "'cpfs meta status' shows who follows, and how far it is.",
  },
  {
    name: 'CpfsStandbyLag',
    expr: 'max by (standby) (cpfs_meta_standby_lag_records) > 10000',
    for: '5m',
    severity: 'warning',
    summary: 'The standby {{ $labels.standby }} is {{ $value }} records behind.',
    next: 'Look at its disk and its network.',
  },
  {
    name: 'CpfsCoordinatorAway',
    expr: 'cpfs_meta_coordinator_away_seconds > 10',
    for: '1m',
    severity: 'warning',
    summary: '{{ $labels.instance }} does not reach its coordinator.',
    next: 'docs/coordinator.md says what goes on without it, and what to do.',
  },
  {
    name: 'CpfsDataDiskFull',
    expr: `cpfs_meta_server_free_bytes / cpfs_meta_server_total_bytes < ${FREE_MIN}`,
    for: '10m',
    severity: 'warning',
    summary:
      'The disk of {{ $labels.address }} (slot {{ $labels.group }}.{{ $labels.slot }}) is nearly full.',
    next: "Add a group of servers, and 'cpfs rebalance'.",
  },
  {
    name: 'CpfsServerDiskFull',
    expr: `cpfs_disk_free_bytes / cpfs_disk_total_bytes < ${FREE_MIN}`,
    for: '10m',
    severity: 'warning',
    summary: 'The disk of {{ $labels.instance }} is nearly full.',
    next: "Give it more space; 'cpfs meta compact' gives back that of a stopped meta server.",
  },
  {
    name: 'CpfsBlocksLost',
    expr: 'cpfs_meta_scrub_blocks{found="lost"} > 0',
    for: '0m',
    severity: 'critical',
    summary: '{{ $value }} blocks cannot be made again from anything.',
    next: "'cpfs scrub status' names the files; restore them from a backup.",
  },
  {
    name: 'CpfsBadBlocks',
    expr: 'increase(cpfs_data_bad_blocks_total[1d]) > 0',
    for: '0m',
    severity: 'warning',
    summary:
      'The disk of {{ $labels.instance }} gave back {{ $value }} blocks that were not what was written.',
    next: "They are mended from the others; if it goes on, replace the disk ('cpfs data drain').",
  },
  {
    name: 'CpfsSumErrors',
    expr: 'increase(cpfs_data_sum_errors_total[1h]) > 0',
    for: '0m',
    severity: 'warning',
    summary: '{{ $labels.instance }} was sent {{ $value }} payloads that had changed on their way.',
    next: 'They were refused and sent again; look for a bad network card or memory.',
  },
  {
    name: 'CpfsScrubOld',
    expr: 'time() - cpfs_data_scrub_last_pass_seconds > 30 * 86400 and cpfs_data_scrub_last_pass_seconds > 0',
    for: '1h',
    severity: 'warning',
    summary: '{{ $labels.instance }} has not read everything that it has for 30 days.',
    next: "'cpfs scrub status' says whether it is paused or too slow.",
  },
  {
    name: 'CpfsRecoveryPaused',
    expr: 'cpfs_meta_recovery_paused > 0 and cpfs_meta_recovery_left > 0',
    for: '1h',
    severity: 'warning',
    summary: 'Servers lack {{ $value }} chunks, and recoveries are paused.',
    next: "'cpfs recovery resume' lets them go on.",
  },
  {
    name: 'CpfsRequestsStuck',
    expr: 'max by (instance) (cpfs_requests_oldest_seconds) > 30 or max by (instance) (cpfs_mount_operations_oldest_seconds) > 60',
    for: '1m',
    severity: 'warning',
    summary: 'A request has been waiting at {{ $labels.instance }} for {{ $value }} s.',
    next: "'cpfs support waiting' shows which ones, and whom they are from.",
  },
  {
    name: 'CpfsMountDisconnected',
    expr: 'cpfs_mount_connected < 1',
    for: '1m',
    severity: 'warning',
    summary: 'The mount {{ $labels.instance }} hears no meta server: its programs wait.',
    next: "Look at its network, and 'cpfs meta status'.",
  },
  {
    name: 'CpfsSlow',
    expr: 'histogram_quantile(0.99, sum by (instance, operation, le) (rate(cpfs_mount_operation_duration_seconds_bucket{operation=~"read|write|lookup|getattr"}[5m]))) > 1',
    for: '10m',
    severity: 'warning',
    summary:
      'One in a hundred {{ $labels.operation }} of {{ $labels.instance }} takes more than {{ $value }} s.',
    next: 'The dashboard shows which servers are slow, and whether they recover.',
  },
  {
    name: 'CpfsEventLoopBusy',
    expr: 'rate(cpfs_event_loop_busy_seconds_total[5m]) > 0.95',
    for: '10m',
    severity: 'warning',
    summary: '{{ $labels.instance }} uses all of a core.',
    next: 'Give it fewer clients, or a faster machine.',
  },
];

/** packaging/prometheus/cpfs.rules.yml. Text in quotes of JSON is text in quotes of YAML. */
export function alertRules(): string {
  const lines = [
    '# Written by the list of alerts (src/roles/observe/alerts.ts); a test keeps it up to date.',
    'groups:',
    '  - name: cpfs',
    '    rules:',
  ];
  for (const {name, expr, for: time, severity, summary, next} of ALERTS) {
    lines.push(
      `      - alert: ${name}`,
      `        expr: ${JSON.stringify(expr)}`,
      `        for: ${time}`,
      '        labels:',
      `          severity: ${severity}`,
      '        annotations:',
      `          summary: ${JSON.stringify(summary)}`,
      `          description: ${JSON.stringify(next)}`,
    );
  }
  return `${lines.join('\n')}\n`;
}
