import {fork} from 'node:child_process';
import {appendFileSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import type {SeededRandom} from '../../src/core/sim/random.js';
import {fetchStatus, type Status} from '../../src/roles/admin.js';
import {devKill, devStart} from '../../src/roles/dev/main.js';
import type {DevCluster} from '../support/dev-cluster.js';
import type {Disks} from './thrash-disks.js';
import type {Ask, FromWorker, ToWorker, WorkerSettings} from './thrash-worker.js';

const WORKER = fileURLToPath(new URL('./thrash-worker.js', import.meta.url));
const POLL_MS = 300;
const STATUS_MS = 3_000;
/** What is known of slots is not older when a server is chosen by it. */
const FRESH_MS = 1_500;
/** A slot that nothing was done to is ready again. */
const RECOVERY_MS_MAX = 180_000;

/** The process in which the programs are. */
export class Programs {
  readonly #child;
  readonly #waiting = new Map<
    number,
    {resolve(value: unknown): void; reject(error: Error): void}
  >();
  #asked = 0;

  constructor(settings: WorkerSettings, failed: (what: string) => void) {
    const threads = settings.folders.length * 3;
    this.#child = fork(WORKER, [JSON.stringify(settings)], {
      env: {...process.env, UV_THREADPOOL_SIZE: String(threads)},
    });
    this.#child.on('message', (message: FromWorker) => {
      if (message.id === undefined) return failed((message as {error: string}).error);
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if ('error' in message) waiting?.reject(new Error(message.error));
      else waiting?.resolve(message.value);
    });
    this.#child.once('exit', (code, signal) => {
      failed(`the programs' process has ended (${signal ?? code})`);
      for (const {reject} of this.#waiting.values()) reject(new Error('the programs have ended'));
    });
  }

  ask<T>(ask: Ask): Promise<T> {
    const id = ++this.#asked;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, {resolve: resolve as (value: unknown) => void, reject});
      this.#child.send({...ask, id} satisfies ToWorker, (error) => error && reject(error));
    });
  }

  end(): void {
    this.#child.removeAllListeners();
    this.#child.kill('SIGKILL');
  }
}

/** The cluster under the thrasher: what is known of it, and what is being done to it. */
export class Field {
  readonly cluster: DevCluster;
  readonly disks: Disks;
  readonly programs: Programs;
  /** Of the two mounts. */
  readonly mountPids: readonly number[];
  readonly random: SeededRandom;
  /** Servers by number, from 1. */
  readonly servers: readonly number[];
  /** How many of them may lack something at the same time. */
  readonly slack: number;
  readonly #fail: (what: string) => void;
  readonly #log: string;
  /** Servers to which something is being done. */
  readonly claimed = new Set<number>();
  /** Anything else of which one goes on at a time. */
  readonly busy = new Set<string>();
  /** Columns of one stripe that are damaged. */
  damaged = 0;
  #status: Status | null = null;
  #statusAt = Number.NEGATIVE_INFINITY;
  /** Since when a server is not ready, with nothing done to it. */
  readonly #lackingSince = new Map<number, number>();
  longestRecoveryMs = 0;
  readonly #starting = new Set<Promise<unknown>>();
  #closed = false;

  constructor(
    cluster: DevCluster,
    disks: Disks,
    programs: Programs,
    mountPids: readonly number[],
    random: SeededRandom,
    slack: number,
    fail: (what: string) => void,
  ) {
    this.cluster = cluster;
    this.disks = disks;
    this.programs = programs;
    this.mountPids = mountPids;
    this.random = random;
    this.slack = slack;
    this.servers = cluster.dev.data.map(({index}) => index);
    this.#fail = fail;
    this.#log = join(cluster.logs, 'thrash.jsonl');
  }

  note(event: string, fields: Record<string, unknown> = {}): void {
    appendFileSync(
      this.#log,
      `${JSON.stringify({ts: new Date().toISOString(), event, ...fields})}\n`,
    );
  }

  fail(what: string): void {
    // What fails because all is over is no failure.
    if (this.#closed) return;
    this.note('failed', {what});
    this.#fail(what);
  }

  /** From now on nothing is started. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#starting);
  }

  /** Looks at the cluster all the time. */
  async watch(): Promise<void> {
    while (!this.#closed) {
      await this.look().catch(() => {});
      this.#overdue();
      await delay(POLL_MS);
    }
  }

  async look(): Promise<Status> {
    const status = await fetchStatus(this.cluster.meta, STATUS_MS);
    this.#status = status;
    this.#statusAt = performance.now();
    return status;
  }

  /** Servers that are not ready, as far as is known; null if that is not known well enough. */
  lacking(): Set<number> | null {
    if (this.#status === null || performance.now() - this.#statusAt > FRESH_MS) return null;
    const {data} = this.cluster.dev;
    const {groups} = this.#status;
    const ready = new Set(
      groups.flatMap((g) => g.slots.filter((s) => s.state === 'ready').map((s) => s.address)),
    );
    return new Set(data.filter((one) => !ready.has(one.address)).map(({index}) => index));
  }

  /** Is nothing to be recovered or checked? */
  get settled(): boolean {
    return this.lacking()?.size === 0 && this.#status?.recoveryLeft === 0;
  }

  /** A server that may be lost now, one that has not recovered yet by preference. */
  target(): number | null {
    const lacking = this.lacking();
    if (lacking === null) return null;
    const out = new Set([...lacking, ...this.claimed]);
    const may = this.servers.filter(
      (index) =>
        !this.claimed.has(index) &&
        out.size + (out.has(index) ? 0 : 1) + this.damaged <= this.slack,
    );
    if (may.length === 0) return null;
    const again = may.filter((index) => lacking.has(index));
    return this.random.pick(again.length > 0 && this.random.chance(0.5) ? again : may);
  }

  pid(index: number): number {
    return this.cluster.dev.data[index - 1]!.pid;
  }

  address(index: number): string {
    return this.cluster.dev.data[index - 1]!.address;
  }

  async kill(role: 'data' | 'meta', index: number): Promise<void> {
    await devKill(this.cluster.state, role, index);
  }

  async start(role: 'data' | 'meta', index: number): Promise<void> {
    if (this.#closed) throw new Error('the run is over');
    const started = devStart(this.cluster.state, role, index);
    this.#starting.add(started);
    await started.finally(() => this.#starting.delete(started));
  }

  /** Until the meta server says of the server what has become of it. */
  async seen(index: number): Promise<void> {
    await delay(1000);
    for (;;) {
      const status = await this.look().catch(() => null);
      const slots = status?.groups.flatMap((g) => g.slots) ?? [];
      const there = slots.find((s) => s.address === this.address(index));
      if (there?.connected && there.state !== 'away') return;
      if (this.#closed) return;
      await delay(POLL_MS);
      this.#overdue();
    }
  }

  /** A recovery that does not end is a failure. */
  #overdue(): void {
    const now = performance.now();
    const lacking = this.lacking();
    if (lacking === null) return;
    for (const index of this.servers) {
      const since = this.#lackingSince.get(index);
      if (!lacking.has(index) || this.claimed.has(index)) {
        if (since !== undefined && !lacking.has(index))
          this.longestRecoveryMs = Math.max(this.longestRecoveryMs, now - since);
        this.#lackingSince.delete(index);
      } else if (since === undefined) {
        this.#lackingSince.set(index, now);
      } else if (now - since > RECOVERY_MS_MAX) {
        this.#lackingSince.set(index, Number.POSITIVE_INFINITY);
        this.fail(`server ${index} is not ready ${RECOVERY_MS_MAX} ms after it came back`);
      }
    }
  }
}
