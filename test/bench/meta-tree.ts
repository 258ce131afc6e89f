// The tree of files that the benchmark of the meta server's machine works on (meta-machine.ts), and its process's figures.
import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {monitorEventLoopDelay} from 'node:perf_hooks';
import {silentLog} from '../../src/core/env/log.js';
import {Backtraces} from '../../src/core/meta/backtraces.js';
import type {LedgerOptions} from '../../src/core/meta/ledger.js';
import {Machine} from '../../src/core/meta/machine.js';
import {serverEnv} from '../../src/roles/real-env.js';
import {bytes, FORMAT} from '../support/meta.js';

export type Figures = Record<string, number>;

/** How many lie in one directory. `flat`: all of them; `random`: as `tree`, but made in any order. */
export type Shape = 'tree' | 'random' | 'flat';
export const DIRECTORY_FILES = 1000;

export interface Tree {
  shape: Shape;
  files: number;
  directories: number[];
  /** Of the first file of each directory; of `random`, of the first one. */
  first: number[];
}

/** A permutation of the 32-bit numbers, so that nothing is in the order of its number. */
export function mixed(i: number): number {
  let h = i >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x45d9_f3b5);
  h = Math.imul(h ^ (h >>> 16), 0x45d9_f3b5);
  return (h ^ (h >>> 16)) >>> 0;
}

/** 8 to 20 characters. */
export function nameOf(i: number): Uint8Array {
  const length = 8 + (mixed(i ^ 0x5555) % 13);
  return bytes(mixed(i).toString(36).padStart(7, '0').padEnd(length, `.f${i}-name.dat`));
}

export const directoriesOf = (shape: Shape, files: number): number =>
  shape === 'flat' ? 1 : Math.ceil(files / DIRECTORY_FILES);

/** Index of the directory of a file. */
export const directoryOf = ({shape, files}: Pick<Tree, 'shape' | 'files'>, i: number): number =>
  shape === 'flat'
    ? 0
    : shape === 'tree'
      ? Math.floor(i / DIRECTORY_FILES)
      : mixed(i + 7) % directoriesOf(shape, files);

export function oidOf(tree: Tree, i: number): number {
  if (tree.shape !== 'tree') return tree.first[0]! + i;
  return tree.first[directoryOf(tree, i)]! + (i % DIRECTORY_FILES);
}

/** The n-th of a walk through all files that comes to each once. */
export const pick = ({files}: Tree, n: number): number => (n * 611_953 + 17) % files;

const path = (folder: string): string => join(folder, 'tree.json');
export const keepTree = (folder: string, tree: Tree): void =>
  writeFileSync(path(folder), JSON.stringify(tree));
export const readTree = (folder: string): Tree => JSON.parse(readFileSync(path(folder), 'utf8'));

const POOL = {small: 256, medium: 32, large: 16};

/** As `cpfs meta start` has it, but without a network and without data servers. */
export async function openMachine(folder: string, options: LedgerOptions = {}) {
  const env = await serverEnv(silentLog, POOL, join(folder, 'meta'), {store: true});
  const machine = await Machine.open(env, {
    ...options,
    format: FORMAT,
    onApplied: () => {},
    onFailed: (error) => {
      throw error;
    },
    checkpoints: new Backtraces(env, {inline: true}),
  });
  const close = async (): Promise<void> => {
    await machine.close();
    await env.kv.close();
    await env.disk.close();
  };
  return {machine, env, close};
}

const MIB = 2 ** 20;

/** MiB of this process: without the pages of files, and of the heap. */
export function memoryNow(): {anonMiB: number; heapMiB: number} {
  const line = /RssAnon:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'latin1'));
  return {anonMiB: Number(line?.[1]) / 1024, heapMiB: process.memoryUsage().heapUsed / MIB};
}

/** What one kind of work took, each. */
export async function measure(count: number, run: () => Promise<void> | void): Promise<Figures> {
  const hold = monitorEventLoopDelay({resolution: 1});
  hold.enable();
  const peak = memoryNow();
  const sampler = setInterval(() => {
    const {anonMiB, heapMiB} = memoryNow();
    peak.anonMiB = Math.max(peak.anonMiB, anonMiB);
    peak.heapMiB = Math.max(peak.heapMiB, heapMiB);
  }, 100);
  const cpu = process.cpuUsage();
  const start = performance.now();
  await run();
  const wall = (performance.now() - start) * 1000;
  const used = process.cpuUsage(cpu);
  // The monitor counts from its own timer's due time, which is a resolution later.
  await new Promise((resolve) => setTimeout(resolve, 5));
  hold.disable();
  clearInterval(sampler);
  return {
    us: wall / count,
    cpuUs: (used.user + used.system) / count,
    holdMs: hold.max / 1e6,
    peakAnonMiB: peak.anonMiB,
    peakHeapMiB: peak.heapMiB,
  };
}
