import {type ChildProcess, execFileSync, spawn} from 'node:child_process';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import {ROOT} from './source-tree.js';

/** Compiles the program into a folder; its path. */
export function buildLocker(dir: string): string {
  const program = join(dir, 'locker');
  execFileSync('cc', ['-O1', '-Wall', '-o', program, join(ROOT, 'test/support/locker.c')]);
  return program;
}

/** A process that locks files as it is told (locker.c). */
export class Locker {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #closed: Promise<void>;

  constructor(program: string) {
    this.#child = spawn(program, {stdio: ['pipe', 'pipe', 'inherit']});
    this.#closed = new Promise((resolve) => this.#child.once('close', () => resolve()));
    this.#answers = createInterface(this.#child.stdout!)[Symbol.asyncIterator]();
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** `ok` or the text of the error; of `get`: what is in the way. */
  async ask(command: string): Promise<string> {
    this.#child.stdin!.write(`${command}\n`);
    const {value, done} = await this.#answers.next();
    return done === true ? 'gone' : value;
  }

  /** Opens and locks. */
  async locks(path: string, command: string): Promise<string> {
    await this.ask(`open 0 ${path}`);
    return await this.ask(command);
  }

  /** Ends it as it is; resolves when the kernel has closed its files. */
  kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    return this.#closed;
  }
}
