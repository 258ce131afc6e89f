import type {ChildProcess} from 'node:child_process';
import {existsSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import type {Machine} from './machines.js';

/**
 * In plain sh: files are written, made safe and renamed over others; each is read again at once, and another one that was written before; sums are kept beside. $1: the mount, $2: a local folder
 * that is there.
 */
const WORK = `set -e
trap 'echo "round $n of the programs failed" > $2/failed' EXIT
n=0
mkdir -p $1/made $2/sums
while [ ! -e $2/stop ]; do
  while [ -e $2/pause ]; do touch $2/paused; sleep 0.05; done
  rm -f $2/paused
  n=$((n + 1))
  begin=$(date +%s%3N)
  head -c $((n % 7 * 70000 + 500)) /dev/urandom > $2/new
  dd if=$2/new of=$1/made/new bs=64k conv=fsync status=none
  mv $1/made/new $1/made/file$((n % 40))
  cmp $2/new $1/made/file$((n % 40))
  (cd $2 && sha256sum < new > sums/file$((n % 40)))
  k=$((n * 7 % 40))
  if [ -e $2/sums/file$k ]; then sha256sum < $1/made/file$k | cmp - $2/sums/file$k; fi
  echo "$n $(($(date +%s%3N) - begin))" >> $2/rounds
  sleep 0.05
done
trap - EXIT
exit 0`;
const LOCAL = '/var/tmp/programs';

/** Programs on a mount of a machine. */
export class InstallWork {
  readonly #machine: Machine;
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  #said = '';
  #seen = 0;

  private constructor(machine: Machine, child: ChildProcess) {
    this.#machine = machine;
    this.#child = child;
    child.stdout!.on('data', (bytes: Buffer) => (this.#said += bytes));
    child.stderr!.on('data', (bytes: Buffer) => (this.#said += bytes));
    this.#ended = new Promise((resolve) => child.once('exit', resolve));
  }

  static async start(machine: Machine, mount: string): Promise<InstallWork> {
    await machine.do(`mkdir -p ${LOCAL} && rm -f ${LOCAL}/stop`);
    return new InstallWork(machine, machine.spawn('sh', '-c', WORK, 'work', mount, LOCAL));
  }

  /** Rounds since the last time, and the longest of them. Throws if something was wrong. */
  rounds(): {count: number; longestMs: number} {
    const {exitCode} = this.#child;
    if (
      existsSync(join(this.#machine.root, LOCAL, 'failed')) ||
      (exitCode !== null && exitCode !== 0)
    )
      throw new Error(`the programs on the mount: ${this.#said}`);
    const path = join(this.#machine.root, LOCAL, 'rounds');
    const all = existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : [];
    const last = all.slice(this.#seen);
    this.#seen = all.length;
    return {
      count: last.length,
      longestMs: Math.max(0, ...last.map((line) => Number(line.split(' ')[1]))),
    };
  }

  async end(): Promise<void> {
    await this.#machine.do(`touch ${LOCAL}/stop`);
    const code = await this.#ended;
    if (code !== 0) throw new Error(`the programs on the mount ended with ${code}: ${this.#said}`);
  }

  /** All that was written, on a mount of whatever machine. Meanwhile nothing is written. */
  async verify(machine: Machine, mount: string): Promise<void> {
    const goesOn = this.#child.exitCode === null;
    if (goesOn)
      await this.#machine.do(
        `touch ${LOCAL}/pause; while [ ! -e ${LOCAL}/paused ]; do sleep 0.05; done`,
      );
    const names = (await this.#machine.do(`cd ${LOCAL}/sums && ls`)).trim().split('\n');
    const sums = await this.#machine.do(`cd ${LOCAL}/sums && cat ${names.join(' ')}`);
    const found = await machine.do(
      `cd ${mount}/made && for one in ${names.join(' ')}; do sha256sum < $one; done`,
    );
    if (found !== sums) throw new Error(`${machine.name} reads other bytes`);
    if (goesOn) await this.#machine.do(`rm ${LOCAL}/pause`);
  }
}
