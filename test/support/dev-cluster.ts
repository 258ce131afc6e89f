import {type ExecFileException, execFile} from 'node:child_process';
import {mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import type {Status} from '../../src/roles/admin.js';
import type {DevState} from '../../src/roles/dev/state.js';
import {ROOT} from './source-tree.js';

const BIN = join(ROOT, 'bin/cpfs');

export interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end; never throws for its exit code. Killed after `timeoutMs` (code 124). */
export function run(
  program: string,
  args: readonly string[],
  options: {cwd?: string; timeoutMs?: number; env?: Record<string, string>} = {},
): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(
      program,
      args,
      {
        cwd: options.cwd,
        timeout: options.timeoutMs ?? 120_000,
        killSignal: 'SIGKILL',
        maxBuffer: 64 << 20,
        env: {...process.env, ...options.env},
      },
      (error: ExecFileException | null, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 124;
        resolve({code, stdout, stderr});
      },
    );
  });
}

/** In a session of its own: a Ctrl-C must not end `dev up` between the start of a process and the note of it. */
export const cpfs = (...args: string[]): Promise<Ran> => run('setsid', [BIN, ...args]);

/** A shell script that must succeed; gives its standard output. Bash takes the pipes of a test for a network login, and would read its rc files. */
export async function shell(script: string, cwd?: string, timeoutMs?: number): Promise<string> {
  const ran = await run('bash', ['--norc', '-euo', 'pipefail', '-c', script], {cwd, timeoutMs});
  if (ran.code !== 0)
    throw new Error(
      `exit ${ran.code} of: ${script}\n${ran.stdout.slice(-2000)}\n${ran.stderr.slice(-4000)}`,
    );
  return ran.stdout;
}

/**
 * A real cluster in processes of its own, on free ports of 127.0.0.1, in a temporary folder. `down` removes every trace of it, also
 * after a failed test, and says what was left behind.
 */
export class DevCluster {
  readonly folder: string;
  readonly state: string;
  readonly mount: string;
  /** For the logs of further mounts. */
  readonly logs: string;
  readonly #more: string[] = [];

  private constructor(folder: string) {
    this.folder = folder;
    this.state = join(folder, 'state');
    this.mount = join(folder, 'mnt');
    this.logs = join(folder, 'log');
  }

  /** Not started yet, but `down` has its folder to remove. */
  static create(): DevCluster {
    return new DevCluster(mkdtempSync(join(tmpdir(), 'cpfs-test-')));
  }

  static async up(...flags: string[]): Promise<DevCluster> {
    const cluster = DevCluster.create();
    await cluster.start(...flags);
    return cluster;
  }

  async start(...flags: string[]): Promise<void> {
    const ran = await cpfs(
      'dev',
      'up',
      '--state',
      this.state,
      '--mount',
      this.mount,
      ...(flags.includes('--base-port') ? [] : ['--base-port', '0']),
      '--detach',
      ...flags,
    );
    if (ran.code !== 0) {
      const logs = await run('bash', ['-c', `tail -n 5 ${this.state}/log/*.log`]);
      throw new Error(`dev up: ${ran.stderr}\n${logs.stdout}`);
    }
  }

  get dev(): DevState {
    return JSON.parse(readFileSync(join(this.state, 'dev.json'), 'utf8')) as DevState;
  }

  /** As for --meta. */
  get meta(): string {
    return this.dev.meta.map(({address}) => address).join(',');
  }

  async do(...args: string[]): Promise<void> {
    await this.said(...args);
  }

  /** As `do`; gives what the command printed. */
  async said(...args: string[]): Promise<string> {
    const ran = await cpfs('dev', ...args, '--state', this.state);
    if (ran.code !== 0) throw new Error(`dev ${args.join(' ')}: ${ran.stderr}`);
    return ran.stdout;
  }

  async status(): Promise<Status> {
    const ran = await cpfs('status', '--meta', this.meta, '-o', 'json');
    if (ran.code !== 0) throw new Error(ran.stderr);
    return JSON.parse(ran.stdout) as Status;
  }

  /** Waits until every group is in this state. */
  until(state: string, timeoutMs: number): Promise<void> {
    return this.untilStatus(
      `groups ${state}`,
      timeoutMs,
      ({groups}) => groups.length > 0 && groups.every((g) => g.state === state),
    );
  }

  /** Waits until the status is so. */
  async untilStatus(
    what: string,
    timeoutMs: number,
    so: (status: Status) => boolean,
  ): Promise<void> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      const status = await this.status();
      if (so(status)) return;
      if (performance.now() > end) {
        const {groups, recoveryLeft} = status;
        throw new Error(
          `not ${what} after ${timeoutMs} ms: ${JSON.stringify({groups, recoveryLeft})}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** A second mount of the same cluster. */
  async mountAgain(
    name: string,
    options = '',
    meta = this.meta,
    ...flags: string[]
  ): Promise<string> {
    const dir = join(this.folder, name);
    // Not asked of the folder itself: it may be a dead mount.
    if (!readdirSync(this.folder).includes(name)) mkdirSync(dir);
    const ran = await cpfs(
      'mount',
      dir,
      '--meta',
      meta,
      '--detach',
      '--log-dir',
      this.logs,
      ...(options === '' ? [] : ['-o', options]),
      ...flags,
    );
    if (ran.code !== 0) throw new Error(`mount: ${ran.stderr}`);
    this.#more.push(dir);
    return dir;
  }

  /** The process of a further mount. */
  mountPid(name: string): number {
    const log = readdirSync(this.logs).find((file) => file.startsWith(`mount-${name}-`));
    const [first] = readFileSync(join(this.logs, log!), 'utf8').split('\n', 1);
    return (JSON.parse(first!) as {pid: number}).pid;
  }

  /** Ends all processes and removes what they stored; the folder stays. */
  async stop(): Promise<void> {
    for (const dir of this.#more.splice(0)) await cpfs('umount', '--lazy', dir);
    await cpfs('dev', 'down', '--state', this.state, '--purge');
  }

  async down(): Promise<void> {
    await this.stop();
    const left = await run('bash', [
      '-c',
      `pgrep -f -- '[c]li.js .*${this.folder}' ; grep -F '${this.folder}' /proc/mounts`,
    ]);
    rmSync(this.folder, {recursive: true, force: true});
    if (left.stdout.trim() !== '') throw new Error(`left behind: ${left.stdout}`);
  }
}
