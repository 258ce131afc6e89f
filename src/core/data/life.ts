import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {sleep} from '../env/clock.js';
import type {Env} from '../env/env.js';

const PATH = 'life.json';
const LIVES = 2 ** 48;
/** A disk that failed is not waited for longer. */
const NOTE_MS_MAX: Ms = 1000;

/** What is kept on the disk. */
interface Kept {
  version: 1;
  life: number;
  /** The machine's life in which it began, or was last continued. */
  machine: string;
  /** Everything was synced when the last process ended. */
  synced: boolean;
}

/**
 * In one life a server keeps what it was told to write, synced or not. The death of the process ends none, since the kernel has the bytes; the
 * end of the machine does if not everything was synced, and so does a sync that failed, after which the kernel may have dropped some.
 */
export class Life {
  readonly #env: Pick<Env, 'clock' | 'disk' | 'log' | 'random'>;
  #kept: Kept;
  #broken = false;

  private constructor(env: Pick<Env, 'clock' | 'disk' | 'log' | 'random'>, kept: Kept) {
    this.#env = env;
    this.#kept = kept;
  }

  /** The life that goes on, or a new one; durable when this resolves. */
  static async begin(env: Pick<Env, 'clock' | 'disk' | 'log' | 'random'>): Promise<Life> {
    const machine = await env.disk.machineLife();
    const before = await read(env);
    const goesOn = before !== null && (before.synced || before.machine === machine);
    const life = goesOn ? before.life : another(env);
    const begun = new Life(env, {version: 1, life, machine, synced: false});
    await begun.#write();
    return begun;
  }

  /** Not 0. */
  get number(): number {
    return this.#kept.life;
  }

  /** A sync has failed: what later ones say means nothing. */
  get broken(): boolean {
    return this.#broken;
  }

  /** A sync has failed. Resolves when the next process will know, or cannot be told. */
  async break(): Promise<void> {
    if (this.#broken) return;
    this.#broken = true;
    const noted = this.#change({life: another(this.#env)}).catch((error: unknown) =>
      this.#env.log.error('life.unsaved', {reason: messageOf(error)}),
    );
    await Promise.race([noted, sleep(this.#env.clock, NOTE_MS_MAX)]);
  }

  /** Everything is synced and nothing more will be written. */
  async end(): Promise<void> {
    if (!this.#broken) await this.#change({synced: true});
  }

  #change(change: Partial<Kept>): Promise<void> {
    this.#kept = {...this.#kept, ...change};
    return this.#write();
  }

  #write(): Promise<void> {
    return this.#env.disk.writeFile(PATH, Buffer.from(JSON.stringify(this.#kept)));
  }
}

const another = (env: Pick<Env, 'random'>): number => 1 + env.random.below(LIVES - 1);

/** Null: there is none that can be read, so nobody knows what the last one kept. */
async function read(env: Pick<Env, 'disk' | 'log'>): Promise<Kept | null> {
  try {
    const bytes = await env.disk.readFile(PATH);
    if (bytes === null) return null;
    const kept = JSON.parse(Buffer.from(bytes).toString('utf8')) as Kept;
    return kept.version === 1 ? kept : null;
  } catch (error) {
    if (!(error instanceof FsError || error instanceof SyntaxError)) throw error;
    env.log.warn('life.unreadable', {reason: messageOf(error)});
    return null;
  }
}
