import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, expect, test} from '@jest/globals';
import {jsonLog} from '../../../../src/core/os/log-json.js';
import {LogLevels} from '../../../../src/core/os/log-levels.js';
import {LogOutput} from '../../../../src/core/os/log-output.js';

let folder: string;
let path: string;
let descriptor: number;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cpfs-log-'));
  path = join(folder, 'x.log');
  descriptor = openSync(path, 'a');
});

afterEach(() => {
  closeSync(descriptor);
  rmSync(folder, {recursive: true});
});

const never = (): string => 'full\n';
const total = (): number =>
  readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);

test('a log in a file of its own never takes more than five times its bound, and the newest lines are there', () => {
  const output = new LogOutput({descriptor, path, fileBytesMax: 1000});
  for (let i = 0; i < 500; i++) {
    expect(output.write(`line ${i} ${'x'.repeat(i % 90)}\n`, never)).toBe(true);
    expect(total()).toBeLessThanOrEqual(6000);
  }
  expect(readdirSync(folder).sort()).toEqual(['x.log', ...[1, 2, 3, 4].map((n) => `x.log.${n}`)]);
  const newest = `${readFileSync(`${path}.1`, 'utf8')}${readFileSync(path, 'utf8')}`;
  expect(newest).toContain('line 499 ');
  // Nothing is lost between two files, nor twice in them.
  const lines = newest.split('\n').filter((line) => line !== '');
  const numbers = lines.map((line) => Number(line.split(' ')[1]));
  expect(numbers).toEqual(Array.from(numbers, (_, i) => numbers[0]! + i));
});

test('what an earlier process left in the file counts', () => {
  const before = new LogOutput({descriptor, path, fileBytesMax: 1000});
  before.write(`${'a'.repeat(989)}\n`, never);
  const output = new LogOutput({descriptor, path, fileBytesMax: 1000});
  output.write('of the second process\n', never);
  expect(readFileSync(path, 'utf8')).toBe('of the second process\n');
  expect(statSync(`${path}.1`).size).toBe(990);
});

test('a file that is not known by its path is not cut, and is not filled without end', () => {
  const other = join(folder, 'other.log');
  for (const wrong of [null, other]) {
    const output = new LogOutput({descriptor, path: wrong, blindBytesMax: 100});
    for (let i = 0; i < 50; i++) output.write(`line ${i}\n`, never);
  }
  const text = readFileSync(path, 'utf8');
  expect(text.split('\n').filter((line) => line === 'full')).toHaveLength(2);
  expect(text.length).toBeLessThan(220);
  expect(readdirSync(folder)).toEqual(['x.log']);
});

test('one kind of event that never ends leaves room for the others, and is counted', () => {
  let now = 1_000_000;
  const output = new LogOutput({descriptor, path});
  const log = jsonLog(new LogLevels('info'), {role: 'meta'}, output, () => now);
  for (let i = 0; i < 5000; i++) log.warn('hello.refused', {i});
  log.info('slot.lost', {slot: 1});
  now += 10_000;
  log.warn('hello.refused', {i: 'later'});
  // A clock that was set back does not silence it for years.
  now -= 86_400_000;
  for (let i = 0; i < 10; i++) log.warn('hello.refused', {i: 'earlier'});
  const lines = readFileSync(path, 'utf8').trim().split('\n');
  const rows = lines.map((line) => JSON.parse(line) as {event: string; i?: unknown});
  expect(rows.filter(({event}) => event === 'slot.lost')).toHaveLength(1);
  expect(rows.find(({event}) => event === 'log.suppressed')).toMatchObject({
    of: 'hello.refused',
    lines: 4000,
    role: 'meta',
  });
  expect(rows.filter(({event}) => event === 'hello.refused')).toHaveLength(1000 + 1 + 10);
});
