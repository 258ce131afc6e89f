import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {run} from './dev-cluster.js';

const LOOK_MS = 100;

/** One program on a terminal of its own. */
export class Tmux {
  readonly #folder = mkdtempSync(join(tmpdir(), 'cpfs-tmux-'));

  async #do(...args: string[]): Promise<string> {
    const socket = join(this.#folder, 's');
    const ran = await run('tmux', ['-S', socket, '-f', '/dev/null', ...args], {
      timeoutMs: 10_000,
      env: {LANG: 'C.UTF-8', LC_ALL: 'C.UTF-8', TERM: 'xterm-256color', CI: ''},
    });
    if (ran.code !== 0) throw new Error(`tmux ${args[0]}: ${ran.stderr}`);
    return ran.stdout;
  }

  /** The shell goes on after `command`. */
  async start(command: string, width: number, height: number): Promise<void> {
    const size = ['-x', String(width), '-y', String(height)];
    const script = `${command}; echo "ended $? $(stty -a | grep -Eo '[^ ]*(isig|icanon)' | xargs)"; sleep 60`;
    await this.#do('new-session', '-d', '-s', 'top', ...size, 'sh', '-c', script);
  }

  async keys(...keys: string[]): Promise<void> {
    await this.#do('send-keys', '-t', 'top', ...keys);
  }

  async resize(width: number, height: number): Promise<void> {
    const size = ['-x', String(width), '-y', String(height)];
    await this.#do('resize-window', '-t', 'top', ...size);
  }

  screen(...how: '-e'[]): Promise<string> {
    return this.#do('capture-pane', '-p', '-t', 'top', ...how);
  }

  /** What is on the screen once it is so. */
  async until(so: RegExp, timeoutMs: number): Promise<string> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      const screen = await this.screen();
      if (so.test(screen)) return screen;
      if (performance.now() > end) throw new Error(`not ${so} after ${timeoutMs} ms:\n${screen}`);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  /** Number of the program's process. */
  async child(): Promise<number> {
    const shell = (await this.#do('list-panes', '-t', 'top', '-F', '#{pane_pid}')).trim();
    return Number((await run('pgrep', ['-P', shell])).stdout.trim());
  }

  async close(): Promise<void> {
    await this.#do('kill-server').catch(() => {});
    rmSync(this.#folder, {recursive: true, force: true});
  }
}
