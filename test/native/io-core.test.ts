import {execFileSync} from 'node:child_process';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {afterAll, beforeAll, expect, test} from '@jest/globals';

// Goal: the cores of codec and disk keep their laws and their bounds. Method: core_test.cpp of each under sanitizers, with
// the kernels' columns between forbidden pages.

const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'cpfs-io-core-'));
});
afterAll(() => rmSync(dir, {recursive: true}));

test.each([
  ['codec', ['core.cpp'], ['-lisal']],
  ['disk', ['core.cpp', 'ring.cpp'], ['-luring']],
])(
  '%s core: core_test.cpp passes under the address and undefined sanitizers',
  (name, sources, libraries) => {
    const program = join(dir, name);
    const files = [...sources, 'core_test.cpp'].map((file) => join(root, 'native', name, file));
    const flags = ['-std=c++17', '-O1', '-g', '-D_FILE_OFFSET_BITS=64', '-Wall', '-Wextra'];
    const sanitizers = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'];
    execFileSync('g++', [...flags, ...sanitizers, ...files, '-o', program, ...libraries], {
      stdio: 'pipe',
    });
    // The codec's memory is never given back, by design.
    const env = {...process.env, ASAN_OPTIONS: 'detect_leaks=0'};
    const output = execFileSync(program, {cwd: dir, encoding: 'utf8', timeout: 30_000, env});
    expect(output).toBe('ok\n');
  },
);
