import {mkdirSync, readdirSync, rmSync, statfsSync, symlinkSync} from 'node:fs';
import {join} from 'node:path';
import {MIB} from '../../src/core/base/units.js';
import {run} from '../support/dev-cluster.js';

const DISK_MIB = 640;

async function must(program: string, ...args: string[]): Promise<void> {
  const ran = await run(program, args, {timeoutMs: 60_000});
  if (ran.code !== 0) throw new Error(`${program} ${args.join(' ')}: ${ran.stderr}`);
}

/** A small file system for each data server, numbered from 1, so that one can be full while others are not. */
export class Disks {
  readonly #folder: string;
  readonly #state: string;
  readonly #mounted: string[] = [];

  private constructor(folder: string, state: string) {
    this.#folder = folder;
    this.#state = state;
  }

  /** Of `count` servers of a dev cluster that will have its state in `state`. */
  static async make(folder: string, state: string, count: number): Promise<Disks> {
    const disks = new Disks(folder, state);
    mkdirSync(state, {recursive: true});
    for (let index = 1; index <= count; index++) await disks.#add(index);
    return disks;
  }

  async #add(index: number): Promise<void> {
    const image = join(this.#folder, `disk${index}.img`);
    const dir = this.#dir(index);
    mkdirSync(dir, {recursive: true});
    await must('truncate', '-s', `${DISK_MIB}M`, image);
    await must('mkfs.ext4', '-q', '-m', '0', image);
    await must('mount', '-o', 'loop,noatime', image, dir);
    this.#mounted.push(dir);
    mkdirSync(join(dir, 'data'));
    symlinkSync(join(dir, 'data'), join(this.#state, `data${index}`));
  }

  /** Leaves so many bytes free, for whatever can use them. */
  async fill(index: number, leaveBytes: number): Promise<void> {
    const {bavail, bsize} = statfsSync(this.#dir(index));
    const bytes = bavail * bsize - leaveBytes;
    if (bytes > MIB) await must('fallocate', '-l', String(bytes), this.#ballast(index));
  }

  free(index: number): void {
    rmSync(this.#ballast(index), {force: true});
  }

  /** As a new disk. */
  empty(index: number): void {
    const folder = join(this.#dir(index), 'data');
    for (const name of readdirSync(folder)) rmSync(join(folder, name), {recursive: true});
  }

  async close(): Promise<void> {
    for (const dir of this.#mounted.splice(0)) await must('umount', dir);
  }

  #dir(index: number): string {
    return join(this.#folder, `disk${index}`);
  }

  #ballast(index: number): string {
    return join(this.#dir(index), 'ballast');
  }
}
