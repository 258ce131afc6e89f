import {mkdirSync} from 'node:fs';
import {join} from 'node:path';
import {writeCProject} from './c-project.js';
import {shell} from './dev-cluster.js';
import {buildLocker, Locker} from './locker.js';
import {Probe} from './probe.js';
import {ROOT} from './source-tree.js';

/** Of a whole round, beside all the others and pauses of seconds; how long a call may take is what the probes look at. */
const STEP_MS = 300_000;

/**
 * Programs on two mounts of one cluster while its meta servers come and go: unpacking and comparing, cloning, compiling, writing and
 * comparing, a lock that one of two has. Each repeats itself until the end; what it makes is compared with the same made on a local disk.
 */
export class FailoverWork {
  /** What went wrong first; null: nothing. */
  wrong: string | null = null;
  readonly rounds: Record<string, number> = {};
  readonly probes: readonly Probe[];
  readonly #mounts: readonly [string, string];
  /** A local folder. */
  readonly #local: string;
  readonly #going: Promise<void>[] = [];
  readonly #lockers: Locker[] = [];
  #ended = false;

  private constructor(mounts: readonly [string, string], local: string) {
    this.#mounts = mounts;
    this.#local = local;
    this.probes = mounts.map((mount, i) => new Probe(join(mount, `probe${i}`)));
  }

  static async start(mounts: readonly [string, string], local: string): Promise<FailoverWork> {
    await shell(`mkdir -p ${local}/tree && cp -a /usr/include/linux ${local}/tree/ && tar -C ${local}/tree -cf ${local}/tree.tar linux
      git init -q ${local}/repo && cp -a ${ROOT}/src ${ROOT}/docs ${local}/repo/ && cd ${local}/repo && git add -A && git -c user.name=t -c user.email=t@t commit -qm all
      head -c 8M /dev/urandom > ${local}/bytes`);
    const work = new FailoverWork(mounts, local);
    const [one, two] = mounts;
    work.#repeat('tar', (n) =>
      shell(
        `mkdir ${one}/tar${n} && tar -C ${one}/tar${n} -xf ${local}/tree.tar && diff -r ${local}/tree ${two}/tar${n} && rm -r ${one}/tar${n}`,
        undefined,
        STEP_MS,
      ),
    );
    work.#repeat('git', (n) =>
      shell(
        `git clone -q --no-hardlinks ${local}/repo ${two}/git${n} && git -C ${two}/git${n} fsck --strict 2>&1 >/dev/null && test -z "$(git -C ${two}/git${n} status --porcelain)" && rm -rf ${two}/git${n}`,
        undefined,
        STEP_MS,
      ),
    );
    work.#repeat('compile', async (n) => {
      const dir = `${one}/c${n}`;
      await writeCProject(dir);
      return shell(
        `make -s -C ${dir} && test "$(${dir}/prog)" = 300 && rm -r ${dir}`,
        undefined,
        STEP_MS,
      );
    });
    work.#repeat('bytes', (n) =>
      shell(
        `dd if=${local}/bytes of=${one}/b${n} bs=64k conv=fsync status=none && cmp ${local}/bytes ${two}/b${n} && dd if=${local}/bytes of=${two}/b${n} bs=4k conv=notrunc,fsync status=none count=256 skip=7 seek=7 && cmp ${local}/bytes ${one}/b${n} && rm ${two}/b${n}`,
        undefined,
        STEP_MS,
      ),
    );
    await work.#lock();
    return work;
  }

  /** fio writes at random through one mount and compares; what it wrote is compared through the other one, too. */
  verifyWithFio(): void {
    const [one, two] = this.#mounts;
    this.#repeat('fio', (n) => {
      const job = `--name=fio${n} --filename=fio${n} --rw=randwrite --bsrange=512-128k --bs_unaligned=1 --size=16m --ioengine=psync --fsync=32`;
      const check = `--verify=crc32c --verify_fatal=1 --verify_state_save=0 --randseed=${n + 1} --minimal`;
      return shell(
        `truncate -s 16m ${two}/fio${n} && fio --directory=${two} ${job} ${check} && test -s ${one}/fio${n} && fio --directory=${one} ${job} ${check} --verify_only && rm ${one}/fio${n}`,
        this.#local,
        STEP_MS,
      );
    });
  }

  #repeat(name: string, step: (number: number) => Promise<unknown>): void {
    this.rounds[name] = 0;
    const run = async (): Promise<void> => {
      for (let number = 0; !this.#ended && this.wrong === null; number++) {
        await step(number);
        this.rounds[name]!++;
      }
    };
    this.#going.push(run().catch((error: unknown) => this.#fail(`${name}: ${error}`)));
  }

  #fail(what: string): void {
    this.wrong ??= what;
  }

  /** One holds it on one mount; on the other nobody gets it, ever. */
  async #lock(): Promise<void> {
    mkdirSync(join(this.#local, 'bin'));
    const program = buildLocker(join(this.#local, 'bin'));
    const [holder, other] = [new Locker(program), new Locker(program)];
    this.#lockers.push(holder, other);
    const [one, two] = this.#mounts;
    const got = await holder.locks(join(one, 'lock'), 'lock 0 w 0 0');
    if (got !== 'ok') this.#fail(`lock: ${got}`);
    await other.ask(`open 0 ${join(two, 'lock')}`);
    this.#repeat('lock', async () => {
      const said = await other.ask('lock 0 w 0 0');
      if (said !== 'Resource temporarily unavailable')
        throw new Error(`the other one was told: ${said}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
      if (!this.#ended) return;
      await holder.ask('lock 0 u 0 0');
      const free = await other.ask('lock 0 w 0 0');
      if (free !== 'ok') throw new Error(`free, and the other one was told: ${free}`);
    });
  }

  /** The longest call of the probes since this was asked last, in ms. */
  takeLongest(): {name: string; ms: number} {
    const all = this.probes.map((probe) => probe.takeLongest());
    return all.reduce((a, b) => (b.ms > a.ms ? b : a));
  }

  /** Lets each end its round. What went wrong first; null: nothing. */
  async end(): Promise<string | null> {
    this.#ended = true;
    await Promise.all([...this.#going, ...this.probes.map((probe) => probe.end())]);
    await Promise.all(this.#lockers.map((locker) => locker.kill()));
    return this.now;
  }

  get now(): string | null {
    return this.wrong ?? this.probes.find(({wrong}) => wrong !== null)?.wrong ?? null;
  }
}
