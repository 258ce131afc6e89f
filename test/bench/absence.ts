// How much a recovery looks at and moves after an absence: `npm run bench:absence -- [--files N] [--changed N]`. On a dev cluster that exists only for
// this run files are made whose bytes are in columns, a data server is stopped, some of them are changed, and it is started again. Every so
// many-th file is changed, so that the changed ones have neighbours that were not.
import {mkdirSync} from 'node:fs';
import {open} from 'node:fs/promises';
import {join} from 'node:path';
import {parseArgs} from 'node:util';
import {cpfs, DevCluster, shell} from '../support/dev-cluster.js';

/** A block in each column. */
const FILE_BYTES = 16 * 1024;
const FILES_PER_DIRECTORY = 1000;
const AT_ONCE = 16;
const END_MS = 1_200_000;
const VICTIM = '3';

/** Writes all of the files with these numbers anew. */
async function write(dir: string, numbers: readonly number[], seed: number): Promise<void> {
  const left = numbers.values();
  const worker = async (): Promise<void> => {
    for (const i of left) {
      const bytes = Buffer.alloc(FILE_BYTES, (i + seed) & 255);
      bytes.writeUInt32LE(i, 0);
      const folder = join(dir, String(Math.floor(i / FILES_PER_DIRECTORY)));
      const file = await open(join(folder, String(i)), seed === 0 ? 'w' : 'r+');
      await file.write(bytes, 0, bytes.length, 0);
      await file.close();
    }
  };
  await Promise.all(Array.from({length: AT_ONCE}, worker));
  await shell('sync');
}

const progress = (text: string): void =>
  void process.stderr.write(`${(performance.now() / 1000).toFixed(0)} s: ${text}\n`);

async function main(): Promise<void> {
  const {values} = parseArgs({
    options: {
      files: {type: 'string', default: '200000'},
      changed: {type: 'string', default: '10000'},
    },
  });
  const files = Number(values.files);
  const changed = Number(values.changed);
  const cluster = DevCluster.create();
  try {
    await cluster.start('--servers', '5', '--scheme', '4+1');
    const mount = await cluster.mountAgain('columns', 'inline-max=0');
    const dir = join(mount, 'files');
    mkdirSync(dir);
    const set = await cpfs('layout', 'set', dir, '--unit', String(FILE_BYTES / 4));
    if (set.code !== 0) throw new Error(set.stderr);
    for (let i = 0; i < files; i += FILES_PER_DIRECTORY)
      mkdirSync(join(dir, String(i / FILES_PER_DIRECTORY)), {recursive: true});
    const all = Array.from({length: files}, (_, i) => i);
    await write(dir, all, 0);
    progress(`${files} files of ${FILE_BYTES} bytes`);
    // What is settled is no intent any more when the server goes.
    await new Promise((resolve) => setTimeout(resolve, 15_000));
    await cluster.do('kill', 'data', VICTIM);
    await cluster.until('degraded', END_MS);
    const every = files / changed;
    await write(
      dir,
      all.filter((i) => i % every === 0),
      1,
    );
    progress(`${changed} of them changed`);
    await cluster.do('start', 'data', VICTIM);
    const started = performance.now();
    const {left, bytes} = await watch(cluster);
    const seconds = (performance.now() - started) / 1000;
    // Each changed file has one block in the column of this server: of data, or of redundancy.
    const lacked = changed * (FILE_BYTES / 4);
    process.stdout.write(
      `looked at ${left} chunks for ${changed} changed files of ${files} (${(left / changed).toFixed(3)} x)\n` +
        `wrote ${bytes} bytes for ${lacked} that changed meanwhile in its columns (${(bytes / lacked).toFixed(3)} x)\n` +
        `ready after ${seconds.toFixed(1)} s\n`,
    );
  } finally {
    await cluster.down();
  }
}

/** Until the server is ready: the most chunks that it had to look at, and the bytes that were written to its columns. */
async function watch(cluster: DevCluster): Promise<{left: number; bytes: number}> {
  let left = 0;
  await cluster.untilStatus('recovering', END_MS, ({recoveryLeft, groups}) => {
    left = Math.max(left, recoveryLeft);
    return groups.every(({state}) => state === 'ready') || left > 0;
  });
  await cluster.untilStatus('ready', END_MS, ({recoveryLeft, groups}) => {
    left = Math.max(left, recoveryLeft);
    return groups.every(({state}) => state === 'ready');
  });
  const {pid} = cluster.dev.data.find(({index}) => String(index) === VICTIM)!;
  process.kill(pid, 'SIGUSR2');
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const log = await shell(
    `grep -h '"event":"stats"' ${cluster.state}/log/data${VICTIM}.log | tail -n 1`,
  );
  return {left, bytes: (JSON.parse(log) as {bytesIn: number}).bytesIn};
}

await main();
