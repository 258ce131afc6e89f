import {type ChildProcess, spawn} from 'node:child_process';
import {mkdirSync} from 'node:fs';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import {ROOT} from './source-tree.js';

interface Line {
  slow?: string;
  ms?: number;
  calls?: number;
  wrong?: string;
}

/** A process that makes, links, renames and removes files in a folder of its own (probe-main.ts): what went wrong, and how long calls took. */
export class Probe {
  calls = 0;
  wrong: string | null = null;
  readonly #child: ChildProcess;
  readonly #closed: Promise<void>;
  #slow: {name: string; ms: number}[] = [];

  constructor(folder: string) {
    mkdirSync(folder);
    const main = join(ROOT, 'dist/test/support/probe-main.js');
    this.#child = spawn(process.execPath, [main, folder], {stdio: ['pipe', 'pipe', 'inherit']});
    this.#closed = new Promise((resolve) => this.#child.once('close', () => resolve()));
    createInterface(this.#child.stdout!).on('line', (text) => {
      const {slow, ms = 0, calls, wrong} = JSON.parse(text) as Line;
      if (slow !== undefined) this.#slow.push({name: slow, ms});
      if (calls !== undefined) this.calls = calls;
      if (wrong !== undefined) this.wrong = wrong;
    });
  }

  /** The longest call of those over half a second since this was asked last, in ms. */
  takeLongest(): {name: string; ms: number} {
    const taken = this.#slow;
    this.#slow = [];
    return taken.reduce((a, b) => (b.ms > a.ms ? b : a), {name: '', ms: 0});
  }

  async end(): Promise<void> {
    this.#child.stdin!.end();
    await this.#closed;
  }
}
