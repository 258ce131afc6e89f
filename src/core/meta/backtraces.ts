import type {Ms} from '../base/ids.js';
import {type Keeper, keepersOf} from '../cluster/backtraces.js';
import {SLOT} from '../cluster/map.js';
import type {Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';
import {type BacktraceEntry, COMMON_SHARD, markLine, SHARDS} from '../protocol/backtraces.js';
import {OPS} from '../protocol/ops.js';
import {ByteReader} from './byte-writer.js';
import type {Cluster} from './cluster.js';
import {Courier, type CourierCounts} from './courier.js';
import {INLINE_LETTER, LINE_KEY} from './keys.js';
import type {Machine} from './machine.js';
import {Spool} from './spool.js';

/** How often the connections are looked at. */
const LOOK_MS: Ms = 500;
/** What an orderly stop waits for data servers. */
const FLUSH_MS: Ms = 2_000;
const FLUSH_STEP_MS: Ms = 20;

export interface BacktraceOptions {
  /** With the bytes of files that have them in their inode: nobody else has a copy. */
  inline: boolean;
}

type BacktraceEnv = Pick<Env, 'clock' | 'disk' | 'log'>;

/** Watches what checkpoints write. */
export interface CheckpointWatch {
  /** The store was as of batch `position` when it was opened. */
  begin(position: number): Promise<void>;
  /** What changed after batch `from` up to `to`, before it is written. Must not reject. */
  note(entries: Iterable<BacktraceEntry>, from: number, to: number): Promise<void>;
  /** It was. */
  written(to: number): void;
}

/**
 * Backtraces: a copy of the state with the data servers, for `meta rebuild` (docs/architecture.md). What a checkpoint writes into the store goes to
 * them, too, so an inode that changes a hundred times between two checkpoints is sent once, and requests do not wait for anything.
 */
export class Backtraces implements CheckpointWatch {
  readonly #env: BacktraceEnv;
  readonly #inline: boolean;
  #spool!: Spool;
  #machine!: Machine;
  #cluster!: Cluster;
  #copies = 1;
  /** By uuid. */
  readonly #couriers = new Map<string, {incarnation: number; courier: Courier}>();
  #timer: Timer | null = null;
  #keepers: {of: string; shards: Map<string, number[]>} = {of: '', shards: new Map()};
  readonly counts: CourierCounts = {messages: 0, bytes: 0, whole: 0};

  constructor(env: BacktraceEnv, {inline}: BacktraceOptions) {
    this.#env = env;
    this.#inline = inline;
  }

  async begin(position: number): Promise<void> {
    this.#spool = await Spool.open(this.#env, position);
  }

  note(entries: Iterable<BacktraceEntry>, from: number, to: number): Promise<void> {
    return this.#spool.note(this.#inline ? entries : withoutInline(entries), from, to);
  }

  written(to: number): void {
    this.#spool.written(to);
  }

  start(machine: Machine, cluster: Cluster): void {
    this.#machine = machine;
    this.#cluster = cluster;
    this.#copies = machine.superblock.rootLayout.m + 1;
    this.#look();
  }

  /** Counts since the start; `behind`: some connected server has not everything up to the last checkpoint. */
  get stats() {
    const behind = [...this.#couriers.values()].some(({courier}) => this.#behind(courier));
    return {...this.#spool.stats, ...this.counts, behind};
  }

  /** Resolves when all connected data servers have what was submitted before, or after a bound. */
  async flush(): Promise<void> {
    const {clock} = this.#env;
    const until = clock.now() + FLUSH_MS;
    const {sequence} = this.#machine;
    while (clock.now() < until) {
      this.#machine.checkpoint();
      if (this.#spool.newest >= sequence && !this.stats.behind) return;
      await new Promise<void>((resolve) => clock.timer(FLUSH_STEP_MS, resolve));
    }
  }

  close(): void {
    this.#timer?.cancel();
    for (const {courier} of this.#couriers.values()) courier.close();
    const {pieces, entries, bytes, messages, whole} = this.stats;
    this.#env.log.info('backtraces.sent', {pieces, entries, bytes, messages, whole});
  }

  #behind(courier: Courier): boolean {
    return !courier.closed && courier.at < this.#spool.newest;
  }

  #look(): void {
    this.#timer = this.#env.clock.timer(LOOK_MS, () => this.#look());
    const placed = new Set<string>();
    let oldest = this.#spool.newest;
    for (const group of this.#cluster.control.state.groups) {
      for (const [index, {member}] of group.slots.entries()) {
        if (member === null) continue;
        // An older release cannot keep any.
        if (this.#cluster.connection(member.uuid)?.peer.knows(OPS.backtrace) === false) continue;
        placed.add(member.uuid);
        this.#attend(member.uuid, group.id, index);
        oldest = Math.min(oldest, this.#couriers.get(member.uuid)?.courier.at ?? -1);
      }
    }
    for (const [uuid, {courier}] of this.#couriers) {
      if (placed.has(uuid)) continue;
      courier.close();
      this.#couriers.delete(uuid);
    }
    this.#spool.trim(oldest);
  }

  #attend(uuid: string, group: number, slot: number): void {
    const server = this.#cluster.connection(uuid);
    const known = this.#couriers.get(uuid);
    if (server === null || (known?.incarnation === server.incarnation && !known.courier.closed))
      return;
    known?.courier.close();
    const courier = new Courier(this.#env, server.peer, {
      spool: this.#spool,
      shards: () => this.#shardsOf(group, slot),
      rows: (from, to, limit) => {
        if (!this.#inline && isInline(from)) return [];
        return this.#machine.audit((tx) => tx.store.range(from, to, limit));
      },
      line: () => markLine(this.#line, this.#inline),
      sequence: () => this.#machine.sequence,
      counts: this.counts,
    });
    this.#couriers.set(uuid, {incarnation: server.incarnation, courier});
  }

  get #line(): number {
    const bytes = this.#machine.audit((tx) => tx.store.get(LINE_KEY));
    return bytes === undefined ? 0 : new ByteReader(bytes).int();
  }

  #shardsOf(group: number, slot: number): readonly number[] {
    const {groups} = this.#cluster.control.state;
    const whole = groups
      .filter(({slots}) => slots.every(({state}) => state !== SLOT.empty))
      .map(({id, slots}) => ({id, slots: slots.length}));
    const of = whole.map(({id, slots}) => `${id}:${slots}`).join();
    if (this.#keepers.of !== of) {
      const shards = new Map<string, number[]>();
      for (let shard = 0; shard < SHARDS; shard++)
        for (const keeper of keepersOf(shard, whole, this.#copies)) add(shards, keeper, shard);
      this.#keepers = {of, shards};
    }
    // A group that is being made has no objects yet.
    if (!whole.some(({id}) => id === group)) return [];
    return [...(this.#keepers.shards.get(`${group}.${slot}`) ?? []), COMMON_SHARD];
  }
}

const isInline = (key: string): boolean => key[0] === INLINE_LETTER;

function* withoutInline(entries: Iterable<BacktraceEntry>): Generator<BacktraceEntry> {
  for (const entry of entries) if (!isInline(entry[0])) yield entry;
}

function add(shards: Map<string, number[]>, {group, slot}: Keeper, shard: number): void {
  const key = `${group}.${slot}`;
  const list = shards.get(key);
  if (list === undefined) shards.set(key, [shard]);
  else list.push(shard);
}
