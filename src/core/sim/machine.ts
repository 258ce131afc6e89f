import {type Release, THIS_RELEASE} from '../base/features.js';
import {BufferPool, type PoolShape, poolBytes} from '../base/pool.js';
import type {Clock} from '../env/clock.js';
import type {Codec} from '../env/codec.js';
import type {Disk} from '../env/disk.js';
import type {Kv} from '../env/kv.js';
import {type Log, type LogFields, silentLog} from '../env/log.js';
import type {Net} from '../env/net.js';
import {type ClockShape, SimClock} from './clock.js';
import {PlainCodec} from './codec.js';
import {CALM_DISK, type DiskShape, SimDisk} from './disk.js';
import {SimKv} from './kv.js';
import {CALM_NETWORK, type NetworkShape, SimNetwork} from './network.js';
import {SeededRandom} from './random.js';
import {Actor, type Defer, Scheduler} from './scheduler.js';

/** What every process gets from its machine: an Env, and the actor that lives or not. */
export interface SimEnv {
  actor: Actor;
  clock: Clock;
  random: SeededRandom;
  net: Net;
  disk: Disk;
  kv: Kv;
  codec: Codec;
  log: Log;
  pool: BufferPool;
  release: Release;
}

export interface MachineShape {
  disk: DiskShape;
  clock: ClockShape;
  pool: PoolShape;
}

export const CALM_MACHINE: MachineShape = {
  disk: CALM_DISK,
  clock: {zero: 1000, skew: 0, rate: 1},
  pool: {small: 256, medium: 64, large: 24},
};

/** A line for people who read a failed world; `node` says whose it is. */
export type Trace = (time: number, node: string, line: string) => void;

/** The machines of one world, and what lies between them. */
export class SimLand {
  readonly scheduler: Scheduler;
  readonly random: SeededRandom;
  readonly network: SimNetwork;
  readonly trace: Trace | null;
  #actors = 0;

  constructor(
    seed: number,
    defer: Defer,
    shape: NetworkShape = CALM_NETWORK,
    trace: Trace | null = null,
  ) {
    this.random = new SeededRandom(seed);
    this.scheduler = new Scheduler(defer);
    this.network = new SimNetwork(this.scheduler, this.random.split('network'), shape);
    this.trace = trace;
  }

  actor(name: string): Actor {
    return new Actor(name, ++this.#actors);
  }

  machine(name: string, shape: MachineShape = CALM_MACHINE): SimMachine {
    return new SimMachine(this, name, shape);
  }
}

/**
 * A host with a disk that runs one process after the other. Pools are new in each life; the disk and the clock
 * outlive them.
 */
export class SimMachine {
  readonly name: string;
  readonly disk: SimDisk;
  readonly kv: SimKv;
  readonly clock: ClockShape;
  /** What is installed there. */
  release: Release = THIS_RELEASE;
  readonly #land: SimLand;
  readonly #shape: MachineShape;
  readonly #random: SeededRandom;
  #actor: Actor | null = null;
  #lives = 0;

  constructor(land: SimLand, name: string, shape: MachineShape) {
    this.#land = land;
    this.name = name;
    this.#shape = shape;
    this.clock = {...shape.clock};
    this.#random = land.random.split(name);
    this.disk = new SimDisk(land.scheduler, this.#random.split('disk'), shape.disk);
    this.kv = new SimKv(this.#random.split('kv'));
  }

  get running(): boolean {
    return this.#actor !== null && this.#actor.state === 'running';
  }

  get dead(): boolean {
    return this.#actor === null;
  }

  /** A new process; the one before must have died. */
  boot(): SimEnv {
    this.kill(false);
    const land = this.#land;
    land.network.powerOn(this.name);
    const actor = land.actor(this.name);
    this.#actor = actor;
    const random = this.#random.split(`life ${this.#lives++}`);
    const pool = new BufferPool(new ArrayBuffer(poolBytes(this.#shape.pool)), this.#shape.pool);
    const clock = new SimClock(land.scheduler, actor, this.clock);
    return {
      actor,
      clock,
      random,
      net: land.network.attach(actor, pool, this.name),
      disk: this.disk.attach(actor, pool),
      kv: this.kv.attach(clock),
      codec: new PlainCodec(),
      log: land.trace === null ? silentLog : new TraceLog(land, actor, {}),
      pool,
      release: this.release,
    };
  }

  /** SIGKILL; or, with `power`, the machine goes dark: peers hear nothing and unsynced writes are lost or torn. */
  kill(power: boolean): void {
    const actor = this.#actor;
    if (actor === null) return;
    this.#actor = null;
    if (power) this.#land.network.powerOff(this.name);
    actor.kill();
    this.disk.crash(power);
    this.kv.crash();
  }

  /** SIGSTOP. */
  freeze(): void {
    this.#actor?.freeze();
  }

  /** SIGCONT. */
  thaw(): void {
    if (this.#actor !== null) this.#land.scheduler.thaw(this.#actor);
  }
}

class TraceLog implements Log {
  readonly #land: SimLand;
  readonly #actor: Actor;
  readonly #fields: LogFields;

  constructor(land: SimLand, actor: Actor, fields: LogFields) {
    this.#land = land;
    this.#actor = actor;
    this.#fields = fields;
  }

  debug(event: string, fields: LogFields = {}): void {
    this.#line('debug', event, fields);
  }

  info(event: string, fields: LogFields = {}): void {
    this.#line('info', event, fields);
  }

  warn(event: string, fields: LogFields = {}): void {
    this.#line('warn', event, fields);
  }

  error(event: string, fields: LogFields = {}): void {
    this.#line('error', event, fields);
  }

  with(fields: LogFields): Log {
    return new TraceLog(this.#land, this.#actor, {...this.#fields, ...fields});
  }

  #line(level: string, event: string, fields: LogFields): void {
    if (this.#actor.dead) return;
    const all = Object.entries({...this.#fields, ...fields}).map(
      ([key, value]) => `${key}=${value}`,
    );
    const {scheduler, trace} = this.#land;
    trace?.(scheduler.now, this.#actor.name, `${level} ${event} ${all.join(' ')}`);
  }
}
