import {readFileSync, writeFileSync} from 'node:fs';
import {expect, test} from '@jest/globals';
import {healthDocument} from '../../src/roles/health/codes.js';

const file = new URL('../../../docs/health.md', import.meta.url);

test('docs/health.md is what the table of codes says (CPFS_REWRITE=1 rewrites it)', () => {
  if (process.env.CPFS_REWRITE === '1') writeFileSync(file, healthDocument());
  expect(readFileSync(file, 'utf8')).toBe(healthDocument());
});
