import {type ChildProcess, spawn} from 'node:child_process';
import {mkdirSync, readFileSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import {setTimeout as delay} from 'node:timers/promises';
import {run} from './dev-cluster.js';
import {ROOT} from './source-tree.js';

const MAIN = join(ROOT, 'dist/test/support/volatile-disks-main.js');
const DISK_MIB = 1024;
const DETACH_MS_MAX = 20_000;

async function must(program: string, ...args: string[]): Promise<string> {
  const ran = await run(program, args, {timeoutMs: 60_000});
  if (ran.code !== 0) throw new Error(`${program} ${args.join(' ')}: ${ran.stderr}`);
  return ran.stdout.trim();
}

/** Local file systems on disks whose power can be cut (volatile-disk.ts), as loop devices. */
export class PowerDisks {
  readonly #folder: string;
  readonly #served: string;
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  /** Loop devices of the disks that are attached. */
  readonly #devices = new Map<number, string>();

  private constructor(folder: string, count: number) {
    this.#folder = folder;
    this.#served = join(folder, 'served');
    mkdirSync(this.#served);
    const images = Array.from({length: count}, (_, i) => join(folder, `${i}.img`));
    this.#child = spawn(process.execPath, [MAIN, this.#served, ...images], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#answers = createInterface(this.#child.stdout!)[Symbol.asyncIterator]();
  }

  static async make(folder: string, count: number): Promise<PowerDisks> {
    mkdirSync(folder, {recursive: true});
    for (let i = 0; i < count; i++) {
      const image = join(folder, `${i}.img`);
      await must('truncate', '-s', `${DISK_MIB}M`, image);
      await must('mkfs.ext4', '-q', '-b', '4096', '-m', '0', '-E', 'nodiscard', image);
    }
    const disks = new PowerDisks(folder, count);
    await disks.#answer('ready');
    return disks;
  }

  /** The device of a disk that has power. Nobody uses it. */
  async attach(disk: number): Promise<string> {
    const device = await must('losetup', '--find', '--show', join(this.#served, String(disk)));
    this.#devices.set(disk, device);
    return device;
  }

  /** When so many more of their requests were served, by which what is in the kernel's memory gets to them. Gives "cut SERVED UNFLUSHED LOST", requests and pages. */
  cut(disks: readonly number[], seed: number, after: number): Promise<string> {
    this.#child.stdin!.write(`cut ${seed} ${after} ${disks.join(' ')}\n`);
    return this.#answer('cut');
  }

  /** Resolves when nothing of the local file system is left in the kernel. */
  async detach(disk: number): Promise<void> {
    const device = this.#devices.get(disk);
    if (device === undefined) return;
    this.#devices.delete(disk);
    // While it is mounted, this is done by its unmount.
    await must('losetup', '-d', device);
    const until = performance.now() + DETACH_MS_MAX;
    while (this.#isOurs(device, disk)) {
      if (performance.now() > until) throw new Error(`${device} is still in use`);
      await delay(10);
    }
  }

  /** They have what outlived the cut. */
  async on(disks: readonly number[]): Promise<void> {
    this.#child.stdin!.write(`on ${disks.join(' ')}\n`);
    await this.#answer('on');
  }

  /** Nobody uses any of them. */
  async close(): Promise<void> {
    for (const disk of [...this.#devices.keys()]) await this.detach(disk);
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    await must('umount', this.#served);
    await ended;
    rmSync(this.#folder, {recursive: true, force: true});
  }

  #isOurs(device: string, disk: number): boolean {
    const path = `/sys/block/${device.split('/').at(-1)}/loop/backing_file`;
    try {
      return readFileSync(path, 'utf8').trim() === join(this.#served, String(disk));
    } catch {
      return false;
    }
  }

  async #answer(verb: string): Promise<string> {
    const {value, done} = await this.#answers.next();
    if (done === true || !value.startsWith(verb)) throw new Error(`the disks said: ${value}`);
    return value;
  }
}

/** Needs to mount, and loop devices. */
export async function canCutPower(): Promise<boolean> {
  const ran = await run('sh', ['-c', 'test -w /dev/loop-control && unshare --mount true']);
  return ran.code === 0;
}
