import {mkdtempSync} from 'node:fs';
import {type FileHandle, open, rm} from 'node:fs/promises';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {MIB} from '../../core/base/units.js';

const FILE_BYTES = 4 * MIB;
/** Together more than a mount keeps of what it wrote: what is read comes from servers. */
const FILES = 24;
const PAUSE_MS = 400;
/** No divisor of anything: what has come to another place is not what belongs there. */
const PATTERN_BYTES = 4093;
const CLEAN_MS = 5_000;

/** Writes files on a mount and reads them again, for as long as it runs. What was synced must be there, whatever is done to servers. */
export class Workload {
  readonly #folder: string;
  /** What each file must have; null: nothing yet, or a write of it failed. */
  readonly #versions: (number | null)[] = Array.from({length: FILES}, () => null);
  /** A file is written or read, not both at once. */
  readonly #busy = new Set<number>();
  readonly #stop = new AbortController();
  readonly #loops: Promise<unknown>;
  #written = 0;
  #checked = 0;
  #failed = 0;
  #wrong: string[] = [];
  #last = '';

  constructor(mount: string) {
    this.#folder = mkdtempSync(join(mount, 'cpfs-workload-'));
    this.#loops = Promise.all([
      this.#again((file) => this.#write(file)),
      this.#again((file) => this.#check(file)),
    ]);
  }

  get text(): string {
    const failed = this.#failed === 0 ? '' : `, ${this.#failed} failed (${this.#last})`;
    const wrong = this.#wrong.length === 0 ? 'none wrong' : `WRONG: ${this.#wrong.join(', ')}`;
    return `${this.#written} files written and synced, ${this.#checked} read again, ${wrong}${failed}`;
  }

  /** Removes what it wrote, if that does not take long. */
  async close(): Promise<void> {
    this.#stop.abort();
    const clean = this.#loops.then(() => rm(this.#folder, {recursive: true, force: true}));
    await Promise.race([clean.catch(() => {}), delay(CLEAN_MS, undefined, {ref: false})]);
  }

  async #again(turn: (file: number) => Promise<void>): Promise<void> {
    const {signal} = this.#stop;
    for (let n = 0; !signal.aborted; n++) {
      const file = n % FILES;
      if (!this.#busy.has(file)) {
        this.#busy.add(file);
        await turn(file).catch((error: NodeJS.ErrnoException) => {
          this.#failed++;
          this.#last = error.code ?? error.message;
        });
        this.#busy.delete(file);
      }
      await delay(PAUSE_MS, undefined, {signal}).catch(() => {});
    }
  }

  async #write(file: number): Promise<void> {
    const version = this.#written + this.#failed + 1;
    this.#versions[file] = null;
    await this.#using(file, 'a', async (handle) => {
      await handle.truncate(0);
      await handle.appendFile(bytesOf(file, version));
      await handle.sync();
    });
    this.#versions[file] = version;
    this.#written++;
  }

  async #check(file: number): Promise<void> {
    const version = this.#versions[file];
    if (version == null) return;
    // Handles that may write read past the pages of the kernel.
    const found = await this.#using(file, 'r+', (handle) => handle.readFile());
    if (found.equals(bytesOf(file, version))) this.#checked++;
    else if (this.#wrong.length < 3) this.#wrong.push(`${this.#folder}/${file}`);
  }

  async #using<T>(
    file: number,
    flags: string,
    use: (handle: FileHandle) => Promise<T>,
  ): Promise<T> {
    const handle = await open(join(this.#folder, String(file)), flags);
    try {
      return await use(handle);
    } finally {
      await handle.close();
    }
  }
}

const bytesOf = (file: number, version: number): Buffer =>
  Buffer.alloc(FILE_BYTES, `file ${file} version ${version} `.padEnd(PATTERN_BYTES, '.'));
