// Goal: dashboards and alerts ask for metrics and labels that there are. Method: compare files with their lists; take expressions apart.
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {expect, test} from '@jest/globals';
import {ALERTS, alertRules} from '../../src/roles/observe/alerts.js';
import {DASHBOARD, dashboard} from '../../src/roles/observe/dashboard.js';
import {METRICS, type MetricName, metricOf} from '../../src/roles/observe/list.js';
import {ROOT} from '../support/source-tree.js';

test.each([
  ['packaging/prometheus/cpfs.rules.yml', alertRules],
  ['packaging/grafana/cpfs.json', dashboard],
])('%s is what its list says (CPFS_REWRITE=1 rewrites it)', (path, document) => {
  const file = join(ROOT, path);
  if (process.env.CPFS_REWRITE === '1') {
    mkdirSync(dirname(file), {recursive: true});
    writeFileSync(file, document());
  }
  expect(readFileSync(file, 'utf8')).toBe(document());
});

/** What Prometheus adds to everything that it scrapes. */
const TARGET = ['job', 'instance'];

/** The listed metric of a name in an expression; histograms have three series. */
function listed(name: string): MetricName | null {
  if (Object.hasOwn(METRICS, name))
    return metricOf(name as MetricName).type === 'histogram' ? null : (name as MetricName);
  const base = name.replace(/_(bucket|sum|count)$/, '') as MetricName;
  return Object.hasOwn(METRICS, base) && metricOf(base).type === 'histogram' ? base : null;
}

/** What an expression asks for that there is not. */
function problems(expr: string): string[] {
  const found: string[] = [];
  const known = new Set(TARGET);
  const used = [...expr.matchAll(/\b(up|cpfs_[a-z_]+)(\{[^}]*\})?/g)];
  if (used.length === 0) found.push('no metric');
  for (const [, name, matchers = ''] of used) {
    const metric = name === 'up' ? null : listed(name!);
    if (name !== 'up' && metric === null) found.push(`metric ${name}`);
    const labels = metric === null ? [] : metricOf(metric).labels;
    const own = [...labels, ...(name!.endsWith('_bucket') ? ['le'] : [])];
    for (const label of own) known.add(label);
    for (const [, label] of matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g))
      if (![...own, ...TARGET].includes(label!)) found.push(`label ${label} of ${name}`);
    if (metric !== null && metricOf(metric).type === 'counter' && !/rate\(|increase\(/.test(expr))
      found.push(`a counter without a rate: ${name}`);
  }
  for (const [, list] of expr.matchAll(/\b(?:by|on|without) \(([^)]*)\)/g))
    for (const label of list!.split(',').map((one) => one.trim()))
      if (label !== '' && !known.has(label)) found.push(`label ${label}`);
  if ((expr.match(/\(/g) ?? []).length !== (expr.match(/\)/g) ?? []).length)
    found.push('parentheses');
  return found;
}

test.each(ALERTS.map((alert) => [alert.name, alert] as const))('alert %s', (_, alert) => {
  expect(problems(alert.expr)).toEqual([]);
  for (const [, label] of `${alert.summary} ${alert.next}`.matchAll(/\$labels\.(\w+)/g)) {
    const of = [...alert.expr.matchAll(/cpfs_[a-z_]+/g)].flatMap(([name]) => [
      ...(metricOf(listed(name)!).labels as readonly string[]),
    ]);
    expect([...TARGET, ...of]).toContain(label);
  }
  expect(alert.for).toMatch(/^\d+[smh]$/);
});

test.each(
  DASHBOARD.flatMap(([row, panels]) =>
    panels.flatMap(({title, queries}) => queries.map(({expr}) => [`${row}: ${title}`, expr])),
  ),
)('dashboard, %s', (_, expr) => {
  expect(problems(expr!)).toEqual([]);
});

test('what there is not would be found', () => {
  expect(problems('rate(cpfs_nothing_total[5m])')).toEqual(['metric cpfs_nothing_total']);
  expect(problems('cpfs_meta_slots{stat="away"}')).toEqual(['label stat of cpfs_meta_slots']);
  expect(problems('sum by (stat) (cpfs_meta_slots)')).toEqual(['label stat']);
  expect(problems('cpfs_request_duration_seconds')).toEqual([
    'metric cpfs_request_duration_seconds',
  ]);
  expect(problems('cpfs_data_syncs_total > 1')).toHaveLength(1);
});
