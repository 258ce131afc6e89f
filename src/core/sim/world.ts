import {FsError, messageOf} from '../base/errors.js';
import {ROOT_OID} from '../base/ids.js';
import {SLOT} from '../cluster/map.js';
import {auditColumns, columnNames, columnOids} from './audit.js';
import {SimCluster} from './cluster.js';
import {FaultScript} from './faults.js';
import {History} from './history.js';
import {Reader} from './reader.js';
import type {Recorder} from './recorder.js';
import {type Defer, SimFailure} from './scheduler.js';
import {showShape, type WorldShape} from './swarm.js';
import {Program} from './workload.js';

export interface WorldResult {
  digest: string;
  /** Calls of programs. */
  calls: number;
  events: number;
  virtualMs: number;
  /** How often each transition of slots and groups was taken. */
  transitions: Readonly<Record<string, number>>;
  /** Objects that were moved, and those of them of which something was copied again. */
  moves: {moved: number; inRounds: number};
}

/** What a world may take; short worlds need a tenth of it. */
const LIMITS = {events: 3_000_000, time: 1_200_000};
/** After the last fault all must be whole again within this (virtual ms). */
const QUIET_MS_MAX = 120_000;
const POLL_MS = 500;
const WALK_BYTES = 256 * 1024;
const TYPE_DIR = 4;
const TYPE_FILE = 8;

/**
 * One world from its seed to its end: programs run while things break; then everything is put right, must come to
 * rest in bounded time, and is audited. Throws what was wrong.
 */
export class World {
  readonly shape: WorldShape;
  readonly history = new History();
  readonly #cluster: SimCluster;

  constructor(shape: WorldShape, defer: Defer, trace: ((line: string) => void) | null) {
    this.shape = shape;
    this.#cluster = new SimCluster(shape, defer, this.history, trace);
  }

  async run(): Promise<WorldResult> {
    const {scheduler} = this.#cluster.land;
    let over = false;
    this.#story().then(
      () => {
        over = true;
      },
      (error: unknown) => scheduler.fail(error),
    );
    await scheduler.run(() => over, LIMITS);
    return {
      digest: scheduler.digest,
      calls: this.history.length,
      events: scheduler.events,
      virtualMs: scheduler.now,
      transitions: this.#cluster.transitions.counts,
      moves: this.#cluster.moves.counts,
    };
  }

  /** Something went wrong that no code of the world could catch. */
  fail(error: unknown): void {
    this.#cluster.land.scheduler.fail(error);
  }

  async #story(): Promise<void> {
    const cluster = this.#cluster;
    cluster.note(showShape(this.shape));
    await cluster.start();
    const faults = new FaultScript(cluster, cluster.land.random.split('faults'));
    const breaking = faults.run();
    const scrubbing = this.shape.scrubs
      ? cluster.scrubs.run(cluster.land.random.split('scrubs'))
      : null;
    const {faults: kinds, inlineBytesMax, readCopies} = this.shape;
    const reader = new Reader(
      cluster.monitor,
      cluster.land.random.split('reader'),
      inlineBytesMax,
      (ms) => cluster.pause(ms),
    );
    // What it sees after a cut, and before it knows of it, the model cannot tell from what the cut left.
    const cut = kinds.includes('meta-power') || kinds.includes('all-power');
    const reading = readCopies && !cut ? reader.run() : null;
    const moving = this.shape.moves ? cluster.moves.run(cluster.land.random.split('moves')) : null;
    await this.#programs();
    reader.stop();
    await reading;
    faults.stop();
    await breaking;
    cluster.scrubs.stop();
    await scrubbing;
    cluster.moves.stop();
    await moving;
    cluster.land.network.calm();
    cluster.note('no more faults');
    await this.#quiet();
    if (this.shape.moves)
      await this.#until('what is to be moved has been', () => cluster.moves.rest());
    await this.#walk(cluster.monitor);
    const model = this.history.check(this.shape.writeback);
    const slots = await this.#slots();
    await cluster.closeClients();
    // What a client was writing as it died is checked when the meta server has noticed; until then redundancy may differ.
    await this.#until('what dead clients were writing is checked', async () => {
      await cluster.tidyServers();
      const {sessions, recoveryLeft} = await cluster.status();
      return sessions.length === 1 && recoveryLeft === 0;
    });
    if (this.shape.scrubs) await this.#scrub();
    await cluster.closeMonitor();
    const live = new Set(model.liveOids);
    await this.#until('columns of removed objects are gone', () =>
      Promise.resolve([...columnOids(slots)].every((oid) => live.has(oid))),
    );
    if (this.shape.moves)
      await this.#until('columns that objects were moved from are gone', () => this.#moved(slots));
    await this.#until('no server holds pool memory', () =>
      Promise.resolve(cluster.poolsUsed === ''),
    );
    // What rotted was found by the scrub.
    if (!this.shape.scrubs) cluster.unflip();
    auditColumns(slots, this.shape.scheme);
  }

  async #moved(slots: SimCluster['disks']): Promise<boolean> {
    const inodes = await this.#cluster.moves.inodes();
    if (inodes === null) return false;
    const byOid = new Map(inodes.map((inode) => [inode.oid, inode]));
    return columnNames(slots).every(({oid, generation}) => {
      const {layout, next} = byOid.get(oid) ?? {layout: null, next: null};
      return generation === layout?.generation || generation === next?.generation;
    });
  }

  /** Everything, once more, at rest. Nothing that did not rot may have been found, ever; and all that did must be well then. */
  async #scrub(): Promise<void> {
    const {scrubs} = this.#cluster;
    await this.#until(
      'a scrub is ordered',
      async () => (await scrubs.ask({start: true, deep: true})) !== null,
    );
    await this.#until('all servers have ended their scrub', () => scrubs.rest());
    const rotten = this.shape.faults.some((kind) => kind === 'flip' || kind === 'data-eio');
    const wrong = scrubs.findings.filter((line) => !rotten || line.startsWith('scrub.lost'));
    if (wrong.length > 0) throw new SimFailure(`a scrub found what is not: ${wrong[0]}`);
  }

  /** Plays the programs of every client; those of one that was killed go on in its next life. */
  async #programs(): Promise<void> {
    const {shape} = this;
    const cluster = this.#cluster;
    const all: Promise<void>[] = [];
    for (let client = 0; client < shape.clients; client++) {
      for (let thread = 0; thread < shape.workload.threads; thread++) {
        all.push(this.#program(client, thread));
      }
    }
    await Promise.all(all);
    cluster.note('the programs have ended');
  }

  async #program(client: number, thread: number): Promise<void> {
    const {workload} = this.shape;
    const cluster = this.#cluster;
    let left = workload.stories;
    while (left > 0) {
      const life = await cluster.client(client);
      const random = cluster.land.random.split(`program ${life.recorder.life} ${thread}`);
      const shape = {...workload, stories: left};
      const excused = (): boolean => life.losses.size > 0;
      const own = `own${client}`;
      const program = new Program(life.recorder, random, life.clock, shape, own, excused);
      await Promise.race([program.run(), life.death]);
      left = program.left;
    }
  }

  /** Liveness: every slot is ready and nothing waits for recovery. */
  async #quiet(): Promise<void> {
    await this.#until('every slot is ready', async () => {
      const status = await this.#cluster.status();
      const slots = status.map.groups.flatMap((group) => group.slots);
      return (
        slots.length === this.shape.servers &&
        slots.every((slot) => slot.state === SLOT.ready) &&
        status.recoveryLeft === 0
      );
    });
  }

  async #until(what: string, holds: () => Promise<boolean>): Promise<void> {
    const {scheduler} = this.#cluster.land;
    const end = scheduler.now + QUIET_MS_MAX;
    for (;;) {
      if (await holds()) return;
      if (scheduler.now > end) {
        throw new SimFailure(
          `not within ${QUIET_MS_MAX} virtual ms: ${what} ${this.#cluster.poolsUsed}`,
        );
      }
      await this.#cluster.pause(POLL_MS);
    }
  }

  /** Reads everything that there is, through a client that was never disturbed; the history judges it. */
  async #walk(recorder: Recorder): Promise<void> {
    const left = [ROOT_OID as number];
    const files = new Set<number>();
    for (let oid = left.pop(); oid !== undefined; oid = left.pop()) {
      for (const entry of (await recorder.readdir(oid)).entries) {
        if (entry.type === TYPE_DIR) left.push(entry.oid);
        if (entry.type === TYPE_FILE) files.add(entry.oid);
        await recorder.getattr(entry.oid);
      }
    }
    for (const oid of files) {
      await recorder.open(oid, false);
      for (let at = 0; ; at += WALK_BYTES) {
        const {bytes} = await recorder.read(oid, at, WALK_BYTES);
        if (bytes.length < WALK_BYTES) break;
      }
      recorder.release(oid);
    }
  }

  /** Disks in the order of their slots. */
  async #slots(): Promise<SimCluster['disks']> {
    const status = await this.#cluster.status();
    const {slots} = status.map.groups[0]!;
    return slots.map((slot, index) => {
      const found = this.#cluster.diskAt(slot.server?.address ?? '');
      if (found === null) throw new SimFailure(`slot ${index} has no server`);
      return found;
    });
  }
}

/** For messages: what an error says, with the place where it was thrown. */
export function explain(error: unknown): string {
  if (error instanceof SimFailure || error instanceof FsError) return error.message;
  const stack = error instanceof Error ? (error.stack ?? '') : '';
  return `${messageOf(error)} ${stack.split('\n').slice(1, 4).join(' ').replaceAll(/\s+/g, ' ')}`;
}
