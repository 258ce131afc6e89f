import {type ChildProcess, execFileSync, spawn} from 'node:child_process';
import {cpSync, mkdirSync, openSync, readdirSync, readFileSync, symlinkSync} from 'node:fs';
import {join, relative} from 'node:path';
import {ROOT} from './source-tree.js';

/** Sources of earlier releases, as they were. */
const KEPT = join(ROOT, 'test/fixtures/releases');
const START_MS = 30_000;
const END_MS = 8_000;

/** Builds a kept release in a folder of its own; the program `cpfs` of it. */
export function buildRelease(name: string, folder: string): string {
  mkdirSync(folder, {recursive: true});
  const run = (program: string, ...args: string[]): void =>
    void execFileSync(program, args, {cwd: folder, stdio: ['ignore', 'pipe', 'pipe']});
  run('tar', '-xzf', join(KEPT, `${name}.tar.gz`));
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  // What is the same needs no compiler.
  if (sources(join(folder, 'native')) === sources(join(ROOT, 'native')))
    cpSync(join(ROOT, 'native/build'), join(folder, 'native/build'), {recursive: true});
  else run(process.execPath, 'scripts/native.mjs');
  run(process.execPath, 'scripts/protocol.mjs');
  run(process.execPath, join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', '.');
  return join(folder, 'bin/cpfs');
}

/** All that is built from. */
function sources(folder: string): string {
  const files = readdirSync(folder, {recursive: true, withFileTypes: true})
    .filter((one) => one.isFile())
    .map((one) => join(one.parentPath, one.name))
    .filter((path) => !relative(folder, path).startsWith('build'));
  return files
    .sort()
    .map((path) => `${relative(folder, path)}\n${readFileSync(path, 'latin1')}`)
    .join('\0');
}

/** A role of some release, in a process. */
export class RoleProcess {
  readonly #child: ChildProcess;
  /** host:port, or the mount point. */
  readonly info: Readonly<Record<string, string>>;

  private constructor(child: ChildProcess, info: Record<string, string>) {
    this.#child = child;
    this.info = info;
  }

  /** Resolves when it is usable. Rejects with what it says, or that it said nothing. */
  static async start(bin: string, argv: readonly string[], log: string): Promise<RoleProcess> {
    const fd = openSync(log, 'a');
    const child = spawn(bin, argv, {
      stdio: ['ignore', fd, fd, 'pipe'],
      env: {...process.env, CPFS_READY_FD: '3'},
    });
    const line = await new Promise<string>((resolve, reject) => {
      let text = '';
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        reject(new Error(`${argv.join(' ')}: not ready in time`));
      }, START_MS);
      child.stdio[3]!.on('data' as never, (bytes: Buffer) => {
        text += bytes.toString();
        if (!text.includes('\n')) return;
        clearTimeout(timer);
        resolve(text);
      });
      child.on('exit', (code) => {
        clearTimeout(timer);
        if (text === '') reject(new Error(`${argv.join(' ')}: exit ${code}; see ${log}`));
      });
    });
    const info = JSON.parse(line) as Record<string, string>;
    if (info.error !== undefined) throw new Error(info.error);
    return new RoleProcess(child, info);
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** As an administrator does. Resolves with its exit code, or the signal that ended it. */
  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | string> {
    const {exitCode, signalCode} = this.#child;
    if (exitCode !== null || signalCode !== null) return Promise.resolve(exitCode ?? signalCode!);
    return new Promise((resolve) => {
      this.#child.on('exit', (code, by) => resolve(code ?? by!));
      this.#child.kill(signal);
    });
  }

  /** Whatever it waits for. */
  async end(): Promise<void> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), END_MS);
    await this.stop();
    clearTimeout(timer);
  }
}
