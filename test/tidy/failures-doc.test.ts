import {readFileSync, writeFileSync} from 'node:fs';
import {expect, test} from '@jest/globals';
import {failuresDocument} from '../../src/core/cluster/slot-states.js';

const file = new URL('../../../docs/failures.md', import.meta.url);

test('docs/failures.md is what the transition table says (CPFS_REWRITE=1 rewrites it)', () => {
  if (process.env.CPFS_REWRITE === '1') writeFileSync(file, failuresDocument());
  expect(readFileSync(file, 'utf8')).toBe(failuresDocument());
});
