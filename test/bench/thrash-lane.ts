import {readdir, stat} from 'node:fs/promises';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {KIB, MIB} from '../../src/core/base/units.js';
import type {SeededRandom} from '../../src/core/sim/random.js';
import {CELL_BYTES} from './thrash-cells.js';
import {type Ground, SIDES, type Side, ThrashFile, Wrong} from './thrash-file.js';

const FILES_MAX = 10;
/** Kept with their names; of a few stripes; large. */
const SIZES = [14 * KIB, 60 * KIB, MIB, MIB, 12 * MIB];
const PIECE_BYTES_MAX = MIB;
const PAUSE_MS_MAX = 60;
/** Most work goes through one of the mounts. */
const AT_HOME = 0.75;

/** Nobody uses it from now on. */
async function rest(file: ThrashFile): Promise<void> {
  await file.sync();
  await file.close();
}

/** A program that works in a folder of its own, which is there, mostly through one of the mounts, and knows what must be in it. */
export class Lane {
  readonly #ground: Ground;
  readonly #random: SeededRandom;
  readonly #home: Side;
  readonly #folder: string;
  readonly #nextId: () => number;
  readonly #asks: (() => Promise<void>)[] = [];
  readonly files: ThrashFile[] = [];
  #names = 0;
  #ending = false;

  constructor(
    ground: Ground,
    random: SeededRandom,
    home: Side,
    folder: string,
    nextId: () => number,
  ) {
    this.#ground = ground;
    this.#random = random;
    this.#home = home;
    this.#folder = folder;
    this.#nextId = nextId;
  }

  /** Until `end`. Throws Wrong, or what a call failed with. */
  async run(): Promise<void> {
    while (!this.#ending) {
      for (const ask of this.#asks.splice(0)) await ask();
      await delay(this.#random.below(PAUSE_MS_MAX));
      await this.#step();
    }
    for (const ask of this.#asks.splice(0)) await ask();
    for (const file of [...this.files]) await this.#guarded(file, rest);
  }

  end(): void {
    this.#ending = true;
  }

  /** A file of at least so many bytes that nobody uses from now on, synced and closed; null if there is none. */
  lend(bytesMin: number): Promise<ThrashFile | null> {
    return new Promise((resolve, reject) => {
      this.#asks.push(async () => {
        try {
          const file = this.files.find((one) => !one.lent && one.cells.bytes >= bytesMin);
          if (file === undefined) return resolve(null);
          await this.#guarded(file, rest);
          if (!this.files.includes(file)) return resolve(null);
          file.lent = true;
          resolve(file);
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  /** All that is there, through one mount; nobody else works. */
  async verify(side: Side): Promise<void> {
    await this.#list(side);
    for (const file of this.files) {
      await file.readWhole(side, true);
      await file.close();
    }
  }

  async #step(): Promise<void> {
    const random = this.#random;
    const free = this.files.filter((file) => !file.lent);
    if (free.length === 0 || (this.files.length < FILES_MAX && random.chance(0.2))) {
      const made = await this.#made();
      if (made !== null) await this.#guarded(made, (one) => this.#fill(one));
      return;
    }
    const file = random.pick(free);
    const step = random.pick(this.#steps);
    await this.#guarded(file, (one) => step.call(this, one));
  }

  /** A step, after which an error that is excused costs the file. */
  async #guarded(file: ThrashFile, step: (file: ThrashFile) => Promise<void>): Promise<void> {
    try {
      await step(file);
    } catch (error) {
      if (!file.excused(error)) throw error;
      this.#forget(file);
      await file.scrap(this.#side());
    }
  }

  readonly #steps: readonly ((file: ThrashFile) => Promise<void>)[] = [
    this.#overwrite,
    this.#overwrite,
    this.#overwrite,
    this.#append,
    this.#both,
    this.#both,
    (file) => file.sync(),
    (file) => file.sync(),
    this.#readSome,
    this.#readSome,
    (file) => file.readWhole(this.#side(), this.#random.chance(0.5)),
    (file) => file.close(),
    (file) => file.cut(this.#side(), this.#random.below(file.cells.countMax)),
    (file) => file.rename(this.#side(), this.#name()),
    () => this.#list(this.#side()),
    this.#drop,
  ];

  #side(): Side {
    if (this.#random.chance(AT_HOME)) return this.#home;
    return this.#home === 0 ? 1 : 0;
  }

  #name(): string {
    return join(this.#folder, `f${this.#names++}`);
  }

  /** Null where there is no room for a file. */
  async #made(): Promise<ThrashFile | null> {
    const bytesMax = this.#random.range(1, this.#random.pick(SIZES));
    const file = new ThrashFile(this.#ground, this.#nextId(), this.#name(), bytesMax);
    try {
      await file.create(this.#side());
    } catch (error) {
      if (file.excused(error)) return null;
      throw error;
    }
    this.files.push(file);
    return file;
  }

  async #fill(file: ThrashFile): Promise<void> {
    const side = this.#side();
    const {countMax} = file.cells;
    const piece = this.#random.range(1, PIECE_BYTES_MAX / CELL_BYTES);
    for (let at = 0; at < countMax; at += piece)
      await file.write(side, at, Math.min(piece, countMax - at));
    if (this.#random.chance(0.5)) await file.sync();
  }

  /** A range that lies within `countMax` cells. */
  #range(countMax: number): {first: number; count: number} {
    const first = this.#random.below(countMax);
    const longest = this.#random.pick([1, 8, 64, PIECE_BYTES_MAX / CELL_BYTES]);
    return {first, count: Math.min(countMax - first, this.#random.range(1, longest))};
  }

  async #overwrite(file: ThrashFile): Promise<void> {
    const side = this.#side();
    for (let left = this.#random.range(1, 12); left > 0; left--) {
      const {first, count} = this.#range(file.cells.countMax);
      await file.write(side, first, count);
      if (this.#random.chance(0.1)) await file.sync();
    }
  }

  async #append(file: ThrashFile): Promise<void> {
    const {count, countMax} = file.cells;
    if (count === countMax) return;
    await file.write(this.#side(), count, this.#random.range(1, Math.min(countMax - count, 64)));
  }

  async #readSome(file: ThrashFile): Promise<void> {
    const side = this.#side();
    const writable = this.#random.chance(0.5);
    for (let left = this.#random.range(1, 8); left > 0; left--) {
      const {first, count} = this.#range(file.cells.countMax);
      await file.read(side, first, count, writable);
    }
  }

  /** Both mounts write pieces in turns at the same time. */
  async #both(file: ThrashFile): Promise<void> {
    const {countMax} = file.cells;
    const piece = this.#random.range(1, this.#random.pick([8, 16, 256]));
    const from = this.#random.below(countMax);
    const of = (side: Side): number[] =>
      Array.from({length: 8}, (_, i) => from + (2 * i + side) * piece).filter(
        (at) => at < countMax,
      );
    const write = async (side: Side): Promise<void> => {
      for (const at of of(side)) await file.write(side, at, Math.min(piece, countMax - at));
    };
    const ended = await Promise.allSettled(SIDES.map(write));
    // The other one has to be over before anything is made of the file.
    for (const one of ended) if (one.status === 'rejected') throw one.reason;
    if (this.#random.chance(0.3)) await file.sync();
    await file.read(this.#side(), from, Math.min(16 * piece, countMax - from), true);
  }

  async #drop(file: ThrashFile): Promise<void> {
    if (this.files.length < FILES_MAX / 2) return;
    await file.remove(this.#side());
    this.#forget(file);
  }

  #forget(file: ThrashFile): void {
    this.files.splice(this.files.indexOf(file), 1);
  }

  async #list(side: Side): Promise<void> {
    const {calls, mounts} = this.#ground;
    const folder = join(mounts[side], this.#folder);
    const names = await calls.run('readdir', folder, () => readdir(folder));
    const expected = this.files.map((file) => file.path.split('/').at(-1)!);
    if (names.sort().join() !== expected.sort().join())
      throw new Wrong(`${folder} has ${names.join()}, not ${expected.join()}`);
    for (const file of this.files) await this.#measure(file, side);
  }

  async #measure(file: ThrashFile, side: Side): Promise<void> {
    const path = join(this.#ground.mounts[side], file.path);
    const {size} = await this.#ground.calls.run('stat', path, () => stat(path));
    if (size !== file.cells.bytes && !file.unsure)
      throw new Wrong(`${path} has ${size} bytes, not ${file.cells.bytes}`);
  }
}
