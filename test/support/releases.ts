import {type ChildProcess, execFileSync, spawn} from 'node:child_process';
import {
  closeSync,
  cpSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
} from 'node:fs';
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

/** The process that this one has started, as it is seen from here. */
export function childOf(pid: number): number {
  const [first = ''] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ');
  if (first === '') throw new Error(`process ${pid} has no child`);
  return Number(first);
}

/** A role of some release, in a process. */
export class RoleProcess {
  readonly #child: ChildProcess;
  /** host:port, or the mount point. */
  readonly info: Readonly<Record<string, string>>;
  readonly pid: number;

  private constructor(child: ChildProcess, info: Record<string, string>, pid: number) {
    this.#child = child;
    this.info = info;
    this.pid = pid;
  }

  /**
   * Resolves when it is usable. Rejects with what it says, or that it said nothing. With `wrapped` the process that is started has started the role, and waits for
   * it, as nsenter(1) does.
   */
  static async start(
    bin: string,
    argv: readonly string[],
    log: string,
    {wrapped = false} = {},
  ): Promise<RoleProcess> {
    const fd = openSync(log, 'a');
    const child = spawn(bin, argv, {
      stdio: ['ignore', fd, fd, 'pipe'],
      env: {...process.env, CPFS_READY_FD: '3'},
    });
    closeSync(fd);
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
    const pid = child.pid!;
    return new RoleProcess(child, info, wrapped ? childOf(pid) : pid);
  }

  /** As an administrator does. Resolves with its exit code, or the signal that ended it. */
  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | string> {
    const {exitCode, signalCode} = this.#child;
    if (exitCode === null && signalCode === null) process.kill(this.pid, signal);
    return this.ended();
  }

  /** The same, whoever ends it. */
  ended(): Promise<number | string> {
    const {exitCode, signalCode} = this.#child;
    if (exitCode !== null || signalCode !== null) return Promise.resolve(exitCode ?? signalCode!);
    return new Promise((resolve) => {
      this.#child.on('exit', (code, by) => resolve(code ?? by!));
    });
  }

  /** Whatever it waits for. */
  async end(): Promise<void> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), END_MS);
    await this.stop();
    clearTimeout(timer);
  }
}
