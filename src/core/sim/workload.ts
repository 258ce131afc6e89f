import {FsError} from '../base/errors.js';
import {ROOT_OID} from '../base/ids.js';
import {BLOCK_BYTES, KIB} from '../base/units.js';
import {type Clock, sleep} from '../env/clock.js';
import {EXCLUSIVE, LAST_BYTE, RANGE, WHOLE} from '../lock/range-locks.js';
import {busyFile} from './busy-file.js';
import type {SeededRandom} from './random.js';
import type {Recording} from './recorder.js';

/** What the programs of a world do. */
export interface WorkloadShape {
  /** Programs that run at the same time on each client. */
  threads: number;
  /** Short stories that each of them plays, one after the other. */
  stories: number;
  /** Files grow to about this size. */
  fileBytesMax: number;
  /** Longest single write. */
  writeBytesMax: number;
  /** Share of stories among names that all clients use; the others use the client's own. */
  sharedChance: number;
  /** Share of stories that only change and look at names. */
  namesChance: number;
  /** Share of stories before which there is one about locks. */
  locksChance: number;
  /** Share of stories before which there is one about pieces of a file that all write at the same time. */
  piecesChance: number;
  /** Share of stories before which there is one about a file that is never left alone. */
  busyChance: number;
  /** Longest pause between two stories, ms. */
  pauseMs: number;
}

const NAMES = ['a', 'b', 'c', 'd'];
const XATTRS = ['user.a', 'user.b'];
const TYPE = 0o170000;
const FILE = 0o100000;
const DIR = 0o040000;
const LINK = 0o120000;

/** Errors that a program may well meet among programs that rename and remove the same names. */
const EXPECTED = new Set([
  'ENOENT',
  'ESTALE',
  'EEXIST',
  'EISDIR',
  'ENOTDIR',
  'ENOTEMPTY',
  'EINVAL',
  'EPERM',
  'ELOOP',
  'ENODATA',
  // The recorder knows when that may be.
  'ENOSPC',
]);

/** Of the file that is written in pieces. */
const PIECES_BYTES = 128 * KIB;

function bytesOf(random: SeededRandom): Uint8Array {
  const bytes = new Uint8Array(random.range(1, BLOCK_BYTES));
  random.fill(bytes);
  return bytes;
}

const ALL = {start: 0n, end: LAST_BYTE};
/** Answers to requests for locks; EINTR is asked for. */
const BUSY = new Set(['EAGAIN', 'EDEADLK', 'EINTR']);

/** One program: plays stories on one client until it has played all. */
export class Program {
  readonly #recorder: Recording;
  readonly #random: SeededRandom;
  readonly #clock: Clock;
  readonly #shape: WorkloadShape;
  readonly #own: string;
  /** Of locks; others are drawn as if there were none. */
  readonly #luck: SeededRandom;
  /** Of pieces. */
  readonly #dice: SeededRandom;
  /** Of busy files. */
  readonly #hours: SeededRandom;
  readonly #excused: () => boolean;
  /** Stories that have not begun, or whose client died in the middle. */
  left: number;

  constructor(
    recorder: Recording,
    random: SeededRandom,
    clock: Clock,
    shape: WorkloadShape,
    own: string,
    excused: () => boolean = () => false,
  ) {
    this.#excused = excused;
    this.#recorder = recorder;
    this.#random = random;
    this.#clock = clock;
    this.#shape = shape;
    this.#own = own;
    this.#luck = random.split('locks');
    this.#dice = random.split('pieces');
    this.#hours = random.split('busy');
    this.left = shape.stories;
  }

  async run(): Promise<void> {
    for (; this.left > 0; this.left--) {
      await sleep(this.#clock, this.#random.float() * this.#shape.pauseMs);
      try {
        if (this.#luck.chance(this.#shape.locksChance)) await this.#locks();
        if (this.#dice.chance(this.#shape.piecesChance)) await this.#pieces();
        if (this.#hours.chance(this.#shape.busyChance)) await this.#busy();
        if (this.#random.chance(this.#shape.namesChance)) await this.#names();
        else await this.#file();
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        const late = error.message.includes('too late for the recall');
        const excused = error.errno === 'EIO' ? late || this.#excused() : EXPECTED.has(error.errno);
        if (!excused) throw error;
      }
    }
  }

  /** The directory in which a story takes place: the client's own, one that all share, or one below. */
  async #directory(): Promise<number> {
    const random = this.#random;
    const top = random.chance(this.#shape.sharedChance) ? 'shared' : this.#own;
    let oid = await this.#enter(ROOT_OID, top);
    if (random.chance(0.2)) oid = await this.#enter(oid, random.pick(NAMES));
    return oid;
  }

  async #enter(parent: number, name: string): Promise<number> {
    try {
      return (await this.#recorder.mkdir(parent, name)).oid;
    } catch (error) {
      if (!(error instanceof FsError && error.errno === 'EEXIST')) throw error;
    }
    const attr = await this.#recorder.lookup(parent, name);
    if ((attr.mode & TYPE) !== DIR) throw new FsError('ENOTDIR');
    return attr.oid;
  }

  async #names(): Promise<void> {
    const random = this.#random;
    const recorder = this.#recorder;
    const dir = await this.#directory();
    const name = random.pick(NAMES);
    switch (random.below(12)) {
      case 0:
        return recorder.unlink(dir, name);
      case 1:
        return recorder.rmdir(dir, name);
      case 2:
      case 3: {
        const other = random.chance(0.5) ? dir : await this.#directory();
        const flags = random.pick([0, 0, 0, 1, 2]);
        return recorder.rename(dir, name, other, random.pick(NAMES), flags);
      }
      case 4: {
        const {oid} = await recorder.lookup(dir, name);
        await recorder.link(oid, dir, random.pick(NAMES));
        return;
      }
      case 5: {
        const made = await recorder.symlink(dir, name, `to ${random.hex(4)}`);
        await recorder.readlink(made.oid);
        return;
      }
      case 6: {
        const attr = await recorder.lookup(dir, name);
        if ((attr.mode & TYPE) === LINK) await recorder.readlink(attr.oid);
        else if ((attr.mode & TYPE) === FILE)
          await recorder.chmod(attr.oid, random.pick([0o600, 0o644]));
        return;
      }
      case 7: {
        const attr = await recorder.lookup(dir, name);
        if ((attr.mode & TYPE) === FILE) await recorder.truncate(attr.oid, this.#size());
        return;
      }
      case 8: {
        await this.#watch(dir);
        return;
      }
      case 9:
      case 10: {
        const {oid, mode} = await recorder.lookup(dir, name);
        if ((mode & TYPE) !== LINK) await this.#xattrs(oid);
        return;
      }
      default:
        await recorder.readdir(dir);
    }
  }

  async #xattrs(oid: number): Promise<void> {
    const random = this.#random;
    const recorder = this.#recorder;
    for (let left = random.range(1, 4); left > 0; left--) {
      const name = random.pick(XATTRS);
      const what = random.below(5);
      try {
        if (what < 2) await recorder.setxattr(oid, name, random.hex(4), random.pick([0, 0, 1, 2]));
        else if (what === 2) await recorder.getxattr(oid, name);
        else if (what === 3) await recorder.listxattr(oid);
        else await recorder.removexattr(oid, name);
      } catch (error) {
        if (!(error instanceof FsError && ['ENODATA', 'EEXIST'].includes(error.errno))) throw error;
      }
    }
  }

  /** Looks at one name again and again: what is cached must not outlive what others do. */
  async #watch(dir: number): Promise<void> {
    const random = this.#random;
    const name = random.pick(NAMES);
    for (let left = random.range(2, 8); left > 0; left--) {
      try {
        const {oid} = await this.#recorder.lookup(dir, name);
        if (random.chance(0.3)) await this.#recorder.getattr(oid);
      } catch (error) {
        if (!(error instanceof FsError && error.errno === 'ENOENT')) throw error;
      }
      if (random.chance(0.5)) await sleep(this.#clock, random.below(60));
    }
  }

  /** Takes and gives back locks of a file, as a process (fcntl) or as an open file (flock), and closes it in the end. */
  async #locks(): Promise<void> {
    const luck = this.#luck;
    const recorder = this.#recorder;
    const dir = await this.#enter(ROOT_OID, 'shared');
    const {oid} = (await recorder.create(dir, 'locked', {exclusive: false, truncate: false})).attr;
    const kind = luck.chance(0.3) ? WHOLE : RANGE;
    const owner = recorder.owner();
    try {
      for (let left = luck.range(1, 6); left > 0; left--) {
        const wait = luck.chance(0.4) ? luck.pick([5, 500, 20_000]) : 0;
        const type = luck.pick([0, 1, 2, 2] as const);
        const start = BigInt(luck.below(4));
        try {
          const range = kind === WHOLE ? ALL : {start, end: start + BigInt(luck.below(3))};
          await recorder.lock(oid, {kind, type, owner, pid: owner, ...range}, wait);
        } catch (error) {
          if (!(error instanceof FsError && BUSY.has(error.errno))) throw error;
        }
        if (luck.chance(0.7)) await sleep(this.#clock, luck.float() * luck.pick([1, 30, 1000]));
        if (luck.chance(0.1))
          await recorder.testLock(oid, {kind, type: EXCLUSIVE, owner, pid: owner, ...ALL});
      }
    } finally {
      await recorder.unlock(oid, owner, kind);
      recorder.release(oid);
    }
  }

  /** Writes pieces of a file that others write pieces of meanwhile, each mostly in a part or in blocks of its own. */
  async #pieces(): Promise<void> {
    const dice = this.#dice;
    const recorder = this.#recorder;
    const dir = await this.#enter(ROOT_OID, 'shared');
    const {oid} = (await recorder.create(dir, 'pieces', {exclusive: false, truncate: false})).attr;
    try {
      // What is small goes with its inode, and has no parts.
      if ((await recorder.getattr(oid)).size < PIECES_BYTES) {
        await recorder.write(oid, PIECES_BYTES - 1, new Uint8Array([1]), false);
        await recorder.fsync(oid);
      }
      const home = dice.below(4);
      const turns = dice.chance(0.5);
      const place = (): number => {
        if (dice.chance(0.1)) return dice.below(PIECES_BYTES);
        const block = dice.below(8);
        return BLOCK_BYTES * (turns ? 4 * block + home : 8 * home + block);
      };
      for (let left = dice.range(3, 10); left > 0; left--) {
        const what = dice.below(24);
        if (what < 14) {
          const bytes = new Uint8Array(
            dice.chance(0.7) ? BLOCK_BYTES : dice.range(1, 3 * BLOCK_BYTES),
          );
          dice.fill(bytes);
          await recorder.write(oid, place(), bytes, false);
        } else if (what < 17) await recorder.read(oid, place(), dice.range(1, 2 * BLOCK_BYTES));
        else if (what < 18) await this.#scan(oid, place());
        else if (what < 20) await recorder.getattr(oid);
        else if (what < 21) await recorder.fsync(oid);
        else if (what < 22) await recorder.write(oid, PIECES_BYTES + place(), bytesOf(dice), false);
        else if (what < 23 && dice.chance(0.3)) await recorder.write(oid, 0, bytesOf(dice), true);
        else if (dice.chance(0.2)) await recorder.truncate(oid, place());
        if (dice.chance(0.3))
          await sleep(
            this.#clock,
            dice.float() * dice.pick([1, 20, Math.min(1500, this.#shape.pauseMs)]),
          );
      }
    } finally {
      recorder.release(oid);
    }
  }

  async #busy(): Promise<void> {
    const dir = await this.#enter(ROOT_OID, this.#hours.chance(0.6) ? 'shared' : this.#own);
    await busyFile(this.#recorder, this.#clock, this.#hours, dir);
  }

  /** One piece after the other, or at even distances. */
  async #scan(oid: number, start: number): Promise<void> {
    const dice = this.#dice;
    const bytes = dice.range(500, BLOCK_BYTES);
    const distance = dice.chance(0.6) ? bytes : dice.range(bytes, 4 * BLOCK_BYTES);
    for (let i = 0; i < 8; i++) await this.#recorder.read(oid, start + i * distance, bytes);
  }

  /** Opens or makes a file, does some things to it, closes it. */
  async #file(): Promise<void> {
    const random = this.#random;
    const dir = await this.#directory();
    const name = random.pick(NAMES);
    const oid = await this.#open(dir, name);
    try {
      // A file that loses its name while it is open stays usable.
      if (random.chance(0.1)) await this.#recorder.unlink(dir, name);
      for (let left = random.range(1, 4); left > 0; left--) await this.#act(oid);
      if (random.chance(0.3)) await this.#recorder.fsync(oid);
    } finally {
      this.#recorder.release(oid);
    }
  }

  async #open(dir: number, name: string): Promise<number> {
    const random = this.#random;
    const truncate = random.chance(0.1);
    if (random.chance(0.5)) {
      const exclusive = random.chance(0.1);
      return (await this.#recorder.create(dir, name, {exclusive, truncate})).attr.oid;
    }
    const attr = await this.#recorder.lookup(dir, name);
    if ((attr.mode & TYPE) !== FILE) throw new FsError('EISDIR');
    await this.#recorder.open(attr.oid, truncate);
    return attr.oid;
  }

  async #act(oid: number): Promise<void> {
    const random = this.#random;
    const recorder = this.#recorder;
    const {fileBytesMax, writeBytesMax} = this.#shape;
    switch (random.below(10)) {
      case 0:
        return recorder.truncate(oid, this.#size());
      case 1:
        await recorder.getattr(oid);
        return;
      case 2:
        return recorder.fsync(oid);
      case 3:
        await recorder.read(oid, 0, fileBytesMax + writeBytesMax);
        return;
      case 4:
        await recorder.read(oid, this.#offset(), random.range(1, writeBytesMax));
        return;
      default: {
        const long = random.chance(0.3) ? writeBytesMax : 6000;
        const bytes = new Uint8Array(random.range(1, Math.min(long, writeBytesMax)));
        random.fill(bytes);
        await recorder.write(oid, this.#offset(), bytes, random.chance(0.15));
      }
    }
  }

  #offset(): number {
    const random = this.#random;
    const offset = random.below(this.#shape.fileBytesMax);
    return random.chance(0.3) ? offset - (offset % 4096) : random.chance(0.3) ? 0 : offset;
  }

  #size(): number {
    const size = this.#offset();
    return this.#random.chance(0.2) ? 0 : size;
  }
}
