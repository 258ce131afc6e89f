// Goal: the document of the metrics is what the list says, and names follow the rules of Prometheus. Method: compare.
import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {expect, test} from '@jest/globals';
import {METRIC_NAMES, metricOf, metricsDocument} from '../../src/roles/observe/list.js';
import {ROOT} from '../support/source-tree.js';

test('docs/metrics.md is what the list says (CPFS_REWRITE=1 rewrites it)', () => {
  const file = join(ROOT, 'docs/metrics.md');
  if (process.env.CPFS_REWRITE === '1') writeFileSync(file, metricsDocument());
  expect(readFileSync(file, 'utf8')).toBe(metricsDocument());
});

test('names say the system, the thing and the unit; only counters end with total', () => {
  for (const name of METRIC_NAMES) {
    const {type, labels, help} = metricOf(name);
    expect(name).toMatch(/^cpfs_[a-z]+(_[a-z]+)*$/);
    expect([name, name.endsWith('_total')]).toEqual([name, type === 'counter']);
    if (type === 'histogram') expect(name).toMatch(/_seconds$/);
    for (const label of labels) expect(label).toMatch(/^[a-z]+$/);
    expect(help).toMatch(/^[A-Z01].*[^.]$/);
  }
});
