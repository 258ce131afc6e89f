// How one meta server scales: disk, memory, start, and CPU and wall time of operations, over a tree of that many empty files, without a network:
// LMDB and the log on a real folder. docs/benchmark.md has what it found.
// usage: node dist/test/bench/meta-machine.js [FILES] [FOLDER] [--shape tree|random|flat] [--json] [--only PHASE,…] [--keep]
import {execFileSync, spawn, spawnSync} from 'node:child_process';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import type {Figures, Shape} from './meta-tree.js';

const PHASES = ['fill', 'start', 'cold', 'work', 'served', 'tail', 'copies', 'compact'] as const;
const {values, positionals} = parseArgs({
  allowPositionals: true,
  options: {
    shape: {type: 'string', default: 'tree'},
    only: {type: 'string', default: PHASES.join()},
    json: {type: 'boolean', default: false},
    keep: {type: 'boolean', default: false},
    /** Use this folder of an earlier run with --keep. */
    in: {type: 'string'},
    tail: {type: 'string', default: String(16 * 2 ** 20)},
  },
});
const files = Number(positionals[0] ?? 50_000);
const shape = values.shape as Shape;
const folder = values.in ?? mkdtempSync(join(positionals[1] ?? tmpdir(), 'cpfs-bench-'));
const script = fileURLToPath(new URL('./meta-phases.js', import.meta.url));

function phase(name: string, ...args: (string | number)[]): Record<string, unknown> {
  const all = [script, name, folder, ...args.map(String)];
  const {stdout, status, signal} = spawnSync(process.execPath, all, {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  });
  if (name === 'tail' && signal === 'SIGKILL') return {};
  if (status !== 0) throw new Error(`${name} ended with ${status ?? signal}`);
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** Out of the page cache, which is everybody's: of this file only. */
function forget(path: string): void {
  execFileSync('sync', ['-f', path]);
  execFileSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0'], {stdio: 'ignore'});
}

const tell = (line: string): void => void (values.json || console.log(line));
const number = (value: number | undefined, digits = 2): string =>
  (value ?? Number.NaN).toFixed(digits).padStart(9);
const row = (what: string, f: Figures): void =>
  tell(
    `${what.padEnd(28)}${number(f.us)} us wall ${number(f.cpuUs)} us CPU ${number(f.holdMs, 1)} ms longest hold` +
      ` ${number(f.peakAnonMiB, 0)} MiB anonymous ${number(f.peakHeapMiB, 0)} MiB heap`,
  );

/** What is done to a server that runs, and what its event loop had of it. */
async function beside(names: readonly string[]): Promise<void> {
  const server = spawn(process.execPath, [script, 'serve', folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface(server.stdout)[Symbol.asyncIterator]();
  const line = async (): Promise<string> => (await lines.next()).value as string;
  const served = async (): Promise<Figures> => {
    server.stdin.write('\n');
    return JSON.parse(await line()) as Figures;
  };
  const address = await line();
  for (const name of names) {
    await served();
    const f = await phaseBeside(name, address);
    const by = await served();
    report[name] = {...f, served: by};
    tell(`${name}: ${JSON.stringify(f)}; who served: ${JSON.stringify(by)}`);
  }
  server.stdin.end();
  await new Promise((resolve) => server.on('exit', resolve));
}

/** Does not hold up those who read from other processes. */
function phaseBeside(name: string, ...args: string[]): Promise<Figures> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, name, folder, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let out = '';
    child.stdout.on('data', (piece) => {
      out += piece;
    });
    child.on('exit', (code) => {
      if (code === 0) resolve(JSON.parse(out) as Figures);
      else reject(new Error(`${name} ended with ${code}`));
    });
  });
}

const wanted = new Set(values.only.split(','));
const report: Record<string, unknown> = {files, shape};
try {
  if (wanted.has('fill') && values.in === undefined) {
    const fill = phase('fill', files, shape) as Figures;
    report.fill = fill;
    row('create', fill);
    tell(
      `disk: ${number(fill.usedBytes! / files, 0)} bytes per file in used pages, ${number(fill.fileBytes! / files, 0)} in the file,` +
        ` ${fill.logBytes} bytes of log, depth ${fill.depth}; steady ${number(fill.steadyAnonMiB, 0)} MiB, heap ${number(fill.steadyHeapMiB, 0)} MiB`,
    );
  }
  const start = (name: string): void => {
    const f = phase('start') as Figures;
    report[name] = f;
    tell(
      `${name}: ${number(f.openMs, 0)} ms, ${number(f.anonMiB, 0)} MiB, heap ${number(f.heapMiB, 0)} MiB, ${f.files} inodes`,
    );
  };
  if (wanted.has('start')) start('start after a clean stop');
  if (wanted.has('cold')) {
    forget(join(folder, 'meta', 'store', 'data.mdb'));
    start('start, store not in memory');
  }
  if (wanted.has('work')) {
    const work = phase('work') as Record<string, Figures>;
    report.work = work;
    for (const [what, figures] of Object.entries(work)) row(what, figures);
  }
  if (wanted.has('served')) {
    const served = phase('served') as Record<string, Figures>;
    report.served = served;
    for (const [what, {us, cpuUs}] of Object.entries(served))
      tell(
        `${`served: ${what}`.padEnd(28)}${number(us)} us wall ${number(cpuUs)} us CPU of the server`,
      );
  }
  if (wanted.has('tail')) {
    phase('tail', values.tail);
    start('start after a kill');
  }
  if (wanted.has('copies')) {
    await beside(['follow', 'backup']);
    phase('more');
    await beside(['incremental']);
  }
  if (wanted.has('compact')) {
    report.compact = phase('compact');
    tell(`compact: ${JSON.stringify(report.compact)}`);
  }
  if (values.json) console.log(JSON.stringify(report, null, 2));
  if (values.keep) console.error(`kept: ${folder}`);
} finally {
  if (!values.keep && values.in === undefined) rmSync(folder, {recursive: true});
}
