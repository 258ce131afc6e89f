import type {Errno} from '../base/errno.js';
import {FsError} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {BufferPool} from '../base/pool.js';
import {BLOCK_BYTES} from '../base/units.js';
import type {Disk, DiskFile, Journal} from '../env/disk.js';
import {OpenFile, OpenJournal} from './open-file.js';
import type {SeededRandom} from './random.js';
import type {Actor, Scheduler} from './scheduler.js';
import {SimFile} from './sim-file.js';

export interface DiskShape {
  capacityBytes: number;
  latencyMin: Ms;
  latencyMax: Ms;
  /** Share of writes after which the kernel writes some page back early. */
  writeBackChance: number;
  /** Share of syncs that take up to so much longer: the disk is busy with others. */
  slowSyncChance: number;
  slowSyncMs: Ms;
}

export const CALM_DISK: DiskShape = {
  capacityBytes: 2 ** 40,
  latencyMin: 0.02,
  latencyMax: 0.3,
  writeBackChance: 0.1,
  slowSyncChance: 0,
  slowSyncMs: 0,
};

export type DiskAction = 'open' | 'read' | 'write' | 'sync' | 'remove' | 'append';

/** An operation that has been asked for and has not happened. */
interface Pending {
  /** Some of it happens before the process dies. */
  partly: ((random: SeededRandom) => void) | null;
}

/**
 * A folder on a disk that outlives processes: what was written, and which of it would survive a power cut. Syncing
 * a file makes its name durable too, as ext4, xfs and btrfs do; removing one is durable after `syncAll`.
 */
export class SimDisk {
  shape: DiskShape;
  readonly random: SeededRandom;
  /** What an action on a file fails with, if anything; for faults. */
  fault: (action: DiskAction, path: string) => Errno | null = () => null;
  /** Questions for space are answered without a draw: who asks began to when there were worlds already, which stay what they were. */
  spaceAtOnce = false;
  readonly #scheduler: Scheduler;
  #files = new Map<string, SimFile>();
  #durable = new Map<string, SimFile>();
  readonly #pending = new Set<Pending>();
  /** What others have on the same disk. */
  #othersBytes = 0;
  #holder: Actor | null = null;
  /** How often the machine was started. */
  #boots = 1;

  constructor(scheduler: Scheduler, random: SeededRandom, shape: DiskShape) {
    this.#scheduler = scheduler;
    this.random = random;
    this.shape = shape;
  }

  /** The folder as one life of a process sees it. */
  attach(actor: Actor, pool: BufferPool): Disk {
    return new AttachedDisk(this, this.#scheduler, actor, pool);
  }

  /** Call when the process has been killed; `power`: its machine lost power with it. */
  crash(power: boolean): void {
    for (const pending of this.#pending) {
      if (pending.partly !== null && this.random.chance(0.5)) pending.partly(this.random);
    }
    this.#pending.clear();
    this.#holder = null;
    if (power) this.#cutPower();
  }

  /** Everything gone: a new empty disk. */
  wipe(): void {
    this.#files = new Map();
    this.#durable = new Map();
  }

  get boots(): number {
    return this.#boots;
  }

  /** Others fill the disk but for so much; null: they go away. */
  squeeze(freeBytes: number | null): void {
    this.#othersBytes = 0;
    if (freeBytes === null) return;
    this.#othersBytes = Math.max(0, this.shape.capacityBytes - this.usedBytes - freeBytes);
  }

  get usedBytes(): number {
    let sum = this.#othersBytes;
    for (const file of this.#files.values()) sum += file.allocated;
    return sum;
  }

  get space(): {totalBytes: number; freeBytes: number; files: number; filesFree: number} {
    const totalBytes = this.shape.capacityBytes;
    const freeBytes = Math.max(0, totalBytes - this.usedBytes);
    return {totalBytes, freeBytes, files: this.paths.length, filesFree: 1_000_000};
  }

  get paths(): string[] {
    return [...this.#files.keys()].sort();
  }

  file(path: string): SimFile | undefined {
    return this.#files.get(path);
  }

  /** For checkers: bytes of a file as programs see them; zeros beyond its end. */
  peek(path: string, offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.#files.get(path)?.read(offset, bytes);
    return bytes;
  }

  create(path: string): SimFile {
    const made = new SimFile();
    this.#files.set(path, made);
    return made;
  }

  unlink(path: string): boolean {
    return this.#files.delete(path);
  }

  /** One file is durable, and its name if it still has it. */
  settle(path: string, file: SimFile): void {
    file.sync();
    if (this.#files.get(path) === file) this.#durable.set(path, file);
  }

  settleAll(): void {
    for (const file of this.#files.values()) file.sync();
    this.#durable = new Map(this.#files);
  }

  /** Room for `bytes` more? */
  hasRoom(bytes: number): boolean {
    return bytes === 0 || this.usedBytes + bytes <= this.shape.capacityBytes;
  }

  /** How long the next action takes. */
  delay(action: DiskAction): Ms {
    const {latencyMin, latencyMax, slowSyncChance, slowSyncMs} = this.shape;
    const delay = latencyMin + this.random.float() * (latencyMax - latencyMin);
    if (action !== 'sync' || slowSyncChance === 0 || !this.random.chance(slowSyncChance))
      return delay;
    return delay + this.random.float() * slowSyncMs;
  }

  begin(pending: Pending): void {
    this.#pending.add(pending);
  }

  finish(pending: Pending): void {
    this.#pending.delete(pending);
  }

  lock(actor: Actor): boolean {
    if (this.#holder !== null && this.#holder !== actor && !this.#holder.dead) return false;
    this.#holder = actor;
    return true;
  }

  unlock(actor: Actor): void {
    if (this.#holder === actor) this.#holder = null;
  }

  #cutPower(): void {
    this.#boots++;
    for (const path of new Set([...this.#files.keys(), ...this.#durable.keys()])) {
      const now = this.#files.get(path);
      const then = this.#durable.get(path);
      if (now !== then && this.random.chance(0.5)) {
        if (now === undefined) this.#durable.delete(path);
        else this.#durable.set(path, now);
      }
    }
    this.#files = new Map(this.#durable);
    for (const file of this.#files.values()) file.powerCut(this.random);
  }
}

class AttachedDisk implements Disk {
  readonly #disk: SimDisk;
  readonly #scheduler: Scheduler;
  readonly #actor: Actor;
  readonly #pool: BufferPool;

  constructor(disk: SimDisk, scheduler: Scheduler, actor: Actor, pool: BufferPool) {
    this.#disk = disk;
    this.#scheduler = scheduler;
    this.#actor = actor;
    this.#pool = pool;
  }

  open(path: string, create: boolean): Promise<DiskFile> {
    return this.#do('open', path, () => {
      const file = this.#disk.file(path) ?? (create ? this.#disk.create(path) : undefined);
      if (file === undefined) throw new FsError('ENOENT', path);
      return new OpenFile(path, file, this.#disk, this.#pool, (action, run, partly) =>
        this.#do(action, path, run, partly),
      );
    });
  }

  readFile(path: string): Promise<Uint8Array | null> {
    return this.#do('read', path, () => {
      const file = this.#disk.file(path);
      return file === undefined ? null : this.#disk.peek(path, 0, file.size);
    });
  }

  writeFile(path: string, bytes: Uint8Array): Promise<void> {
    const copy = bytes.slice();
    const replace = (): void => {
      const old = this.#disk.file(path);
      if (!this.#disk.hasRoom(Math.ceil(copy.length / BLOCK_BYTES) * BLOCK_BYTES)) {
        throw new FsError('ENOSPC', path);
      }
      if (old !== undefined) this.#disk.unlink(path);
      const file = this.#disk.create(path);
      file.write(0, copy);
      this.#disk.settle(path, file);
    };
    return this.#do('write', path, replace, replace);
  }

  remove(path: string): Promise<boolean> {
    const unlink = (): boolean => this.#disk.unlink(path);
    return this.#do('remove', path, unlink, unlink);
  }

  removeTree(path: string): Promise<void> {
    return this.#do('remove', path, () => {
      for (const one of this.#disk.paths) {
        if (one === path || one.startsWith(`${path}/`)) this.#disk.unlink(one);
      }
    });
  }

  list(path: string): Promise<string[]> {
    return this.#do('read', path, () => {
      const prefix = path === '' || path === '.' ? '' : `${path}/`;
      const names = new Set<string>();
      for (const one of this.#disk.paths) {
        if (one.startsWith(prefix)) names.add(one.slice(prefix.length).split('/')[0]!);
      }
      return [...names].sort();
    });
  }

  syncAll(): Promise<void> {
    return this.#do('sync', '', () => this.#disk.settleAll());
  }

  space(): Promise<{totalBytes: number; freeBytes: number; files: number; filesFree: number}> {
    if (this.#disk.spaceAtOnce) return Promise.resolve(this.#disk.space);
    return this.#do('read', '', () => this.#disk.space);
  }

  machineLife(): Promise<string> {
    return Promise.resolve(String(this.#disk.boots));
  }

  journal(path: string): Promise<Journal> {
    return this.#do('open', path, () => {
      const file = this.#disk.file(path) ?? this.#disk.create(path);
      return new OpenJournal(path, file, this.#disk, (action, run) => this.#do(action, path, run));
    });
  }

  lock(): Promise<void> {
    return this.#do('open', '', () => {
      if (!this.#disk.lock(this.#actor))
        throw new FsError('EBUSY', 'another process uses the folder');
    });
  }

  close(): Promise<void> {
    this.#disk.unlock(this.#actor);
    return Promise.resolve();
  }

  /** Happens at one moment some time from now; if the process dies first, `partly` may happen instead. */
  #do<T>(
    action: DiskAction,
    path: string,
    run: () => T,
    partly: Pending['partly'] = null,
  ): Promise<T> {
    const disk = this.#disk;
    const delay = disk.delay(action);
    return new Promise((resolve, reject) => {
      if (this.#actor.dead) return;
      const pending: Pending = {partly};
      disk.begin(pending);
      this.#scheduler.schedule(this.#actor, delay, `disk ${action}`, () => {
        disk.finish(pending);
        const errno = disk.fault(action, path);
        if (errno !== null) {
          reject(new FsError(errno, `${action} ${path} (simulated)`));
          return;
        }
        try {
          resolve(run());
        } catch (error) {
          reject(error);
        }
      });
    });
  }
}
