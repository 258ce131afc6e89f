import {open, readdir, stat} from 'node:fs/promises';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import type {SeededRandom} from '../../src/core/sim/random.js';
import {drawCells, PowerFile, type Rows, Wrong} from './power-file.js';

const FILES_MAX = 14;
const PAUSE_MS_MAX = 8;
/** Of a call, also while servers are away: what a client waits for is bounded. */
export const CALL_MS_MAX = 60_000;

/** A program in a folder of its own. */
export class PowerLane {
  readonly #folder: string;
  readonly #random: SeededRandom;
  #files: PowerFile[] = [];
  #names = 0;
  #ids: number;
  #halted = true;
  #running: Promise<unknown> = Promise.resolve();
  /** Calls that failed since the last look. */
  failed: string[] = [];
  /** Calls that did what they should. */
  done = 0;

  /** `place` numbers the lanes. */
  constructor(folder: string, random: SeededRandom, place: number) {
    this.#folder = folder;
    this.#random = random;
    this.#ids = place * 1_000_000;
  }

  /** Until `halt`, in this mount. */
  go(mount: string): void {
    const folder = join(mount, this.#folder);
    this.#halted = false;
    this.#running = this.#run(folder).catch((error: unknown) => error);
  }

  /** No further call; resolves when the last one is back. */
  async halt(): Promise<void> {
    this.#halted = true;
    const error = await this.#running;
    if (error !== undefined) throw error;
  }

  async #run(folder: string): Promise<void> {
    while (!this.#halted) {
      await delay(this.#random.below(PAUSE_MS_MAX));
      if (this.#halted) return;
      const began = performance.now();
      await this.#step(folder);
      const ms = performance.now() - began;
      if (ms > CALL_MS_MAX) throw new Wrong(`a call took ${Math.round(ms)} ms`);
    }
  }

  async #step(folder: string): Promise<void> {
    const random = this.#random;
    const usable = this.#files.filter(({name, shaken}) => name !== null && !shaken);
    const file = usable.length === 0 ? null : random.pick(usable);
    if (file === null || (usable.length < FILES_MAX && random.chance(0.15))) {
      const made = new PowerFile(++this.#ids, this.#name());
      this.#files.push(made);
      return this.#guarded(made, async () => {
        await made.create(folder);
        await made.write(folder, 0, drawCells(random));
        if (random.chance(0.4)) await made.sync(folder);
      });
    }
    return this.#guarded(file, () => this.#change(file, folder));
  }

  async #change(file: PowerFile, folder: string): Promise<void> {
    const random = this.#random;
    const draw = random.float();
    if (draw < 0.45) {
      const first = random.below(Math.max(1, file.count));
      return file.write(folder, first, random.range(1, random.pick([1, 8, 40, 300])));
    }
    if (draw < 0.8) return file.sync(folder);
    if (draw < 0.85) return file.cut(folder, random.below(file.count + 20));
    if (draw < 0.9) return file.rename(folder, this.#name());
    if (draw < 0.93) return this.#replace(file, folder);
    if (draw < 0.96) return file.remove(folder);
    return this.#syncNames(folder);
  }

  /** As an editor saves: the new file takes the name of an old one. */
  async #replace(file: PowerFile, folder: string): Promise<void> {
    const others = this.#files.filter((one) => one !== file && one.name !== null && !one.shaken);
    if (others.length === 0) return;
    const old = this.#random.pick(others);
    const name = old.name!;
    await file.sync(folder);
    old.gone();
    await file.rename(folder, name);
    await old.close();
  }

  async #syncNames(folder: string): Promise<void> {
    // One that is shaken may be anywhere.
    const names = this.#files.filter(({shaken}) => !shaken);
    const handle = await open(folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    for (const file of names) file.named();
  }

  #name(): string {
    return `f${this.#names++}`;
  }

  async #guarded(file: PowerFile, step: () => Promise<void>): Promise<void> {
    try {
      await step();
      this.done++;
    } catch (error) {
      const {code, message} = error as NodeJS.ErrnoException;
      if (code === undefined) throw error;
      this.failed.push(message);
      file.shake(message);
    }
  }

  /** Looks at everything after a power cut, and goes on from what is there. Gives how many files, and blocks that could not be read. */
  async judge(mount: string, rows: Rows | null): Promise<{files: number; unread: number}> {
    for (const file of this.#files) await file.close().catch(() => {});
    this.failed = [];
    const folder = join(mount, this.#folder);
    const left = new Set(this.#files);
    const kept: PowerFile[] = [];
    let unread = 0;
    for (const name of await readdir(folder)) {
      const {ino, size} = await stat(join(folder, name));
      const file = this.#files.find(
        ({oid, names}) => oid === ino || (oid === 0 && names.has(name)),
      );
      if (file === undefined) throw new Wrong(`${this.#folder}/${name} (${ino}) is nobody's`);
      if (!left.delete(file)) throw new Wrong(`${this.#folder}/${name} (${ino}) is there twice`);
      file.oid = ino;
      unread += await file.judge(folder, name, size, rows);
      kept.push(file);
    }
    for (const file of left) file.missing();
    this.#files = kept;
    return {files: kept.length, unread};
  }
}
