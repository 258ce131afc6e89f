import {FsError, Lost} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {BufferPool} from '../base/pool.js';
import type {Connection, Listener, Net} from '../env/net.js';
import {connectionPair, type SimConnection} from './connection.js';
import type {SeededRandom} from './random.js';
import type {Actor, Scheduler} from './scheduler.js';

/** What the network does by itself; faults on top of it are methods of SimNetwork. */
export interface NetworkShape {
  latencyMin: Ms;
  latencyMax: Ms;
  /** Share of frames that take `spikeMs` longer. */
  spikeChance: number;
  spikeMs: Ms;
  /** Share of frames at whose sending the connection breaks. */
  resetChance: number;
  /** Bytes of one direction that are under way or wait unread at the receiver, before the sender's queue grows. */
  windowBytes: number;
  queueLimit: number;
}

export const CALM_NETWORK: NetworkShape = {
  latencyMin: 0.05,
  latencyMax: 0.5,
  spikeChance: 0,
  spikeMs: 0,
  resetChance: 0,
  windowBytes: 256 * 1024,
  queueLimit: 4 * 1024 * 1024,
};

interface ListenerEntry {
  actor: Actor;
  pool: BufferPool;
  accept: (connection: Connection) => void;
}

/** How long until something that an unreachable host did not take is tried again. */
const RETRY_MS: Ms = 100;
const PORT_FIRST = 40_000;

/** Hosts, what listens on them, and every connection between them. */
export class SimNetwork {
  readonly scheduler: Scheduler;
  readonly shape: NetworkShape;
  readonly #random: SeededRandom;
  readonly #listeners = new Map<string, ListenerEntry>();
  readonly #connections = new Set<SimConnection>();
  readonly #cut = new Set<string>();
  readonly #off = new Set<string>();
  #nextPort = PORT_FIRST;
  #calm = false;

  constructor(scheduler: Scheduler, random: SeededRandom, shape: NetworkShape) {
    this.scheduler = scheduler;
    this.#random = random;
    this.shape = shape;
  }

  /** The Net of one life of a process on `host`. Its death closes what it has. */
  attach(actor: Actor, pool: BufferPool, host: string): Net {
    return {
      resolve: () => null,
      connect: (address, timeoutMs) => this.#connect(actor, pool, host, address, timeoutMs),
      listen: (address, accept) => this.#listen(actor, pool, host, address, accept),
    };
  }

  /** Nothing passes between the two hosts until `heal`; connections stay, as TCP's do. */
  partition(a: string, b: string): void {
    this.#cut.add(`${a} ${b}`);
    this.#cut.add(`${b} ${a}`);
  }

  heal(): void {
    this.#cut.clear();
  }

  /** The host vanishes: nothing says goodbye. Kill its actors after this. */
  powerOff(host: string): void {
    this.#off.add(host);
  }

  powerOn(host: string): void {
    this.#off.delete(host);
  }

  /** From now on no spikes and no resets by itself: for the end of a world. */
  calm(): void {
    this.#calm = true;
  }

  /** Breaks one connection; false if there is none. What was under way is lost, both ends learn it in their own time. */
  resetOne(): boolean {
    const open = [...this.#connections].filter((connection) => !connection.closed);
    if (open.length === 0) return false;
    const one = this.#random.pick(open);
    one.reset('connection reset (simulated)');
    one.other.reset('connection reset (simulated)');
    return true;
  }

  reachable(a: string, b: string): boolean {
    return !this.#off.has(a) && !this.#off.has(b) && !this.#cut.has(`${a} ${b}`);
  }

  latency(): Ms {
    const {latencyMin, latencyMax, spikeChance, spikeMs} = this.shape;
    const base = latencyMin + this.#random.float() * (latencyMax - latencyMin);
    return !this.#calm && this.#random.chance(spikeChance)
      ? base + this.#random.float() * spikeMs
      : base;
  }

  breaks(): boolean {
    return !this.#calm && this.shape.resetChance > 0 && this.#random.chance(this.shape.resetChance);
  }

  forget(connection: SimConnection): void {
    this.#connections.delete(connection);
  }

  #listen(
    actor: Actor,
    pool: BufferPool,
    host: string,
    wanted: string,
    accept: (connection: Connection) => void,
  ): Promise<Listener> {
    const port = Number(wanted.slice(wanted.lastIndexOf(':') + 1));
    const address = `${host}:${port === 0 ? this.#nextPort++ : port}`;
    if (this.#listeners.has(address)) {
      return Promise.reject(new FsError('EBUSY', `${address} is in use`));
    }
    const entry = {actor, pool, accept};
    this.#listeners.set(address, entry);
    const gone = (): void => {
      if (this.#listeners.get(address) === entry) this.#listeners.delete(address);
    };
    actor.onDeath(gone);
    return Promise.resolve({
      address,
      close: () => {
        gone();
        return Promise.resolve();
      },
    });
  }

  #connect(
    actor: Actor,
    pool: BufferPool,
    host: string,
    address: string,
    timeoutMs: number,
  ): Promise<Connection> {
    const {scheduler} = this;
    return new Promise((resolve, reject) => {
      let settled = false;
      const timer = scheduler.schedule(actor, timeoutMs, 'connect timeout', () => {
        settled = true;
        reject(new Lost(`${address} does not answer`));
      });
      const finish = (tag: string, run: () => void): void => {
        scheduler.schedule(actor, this.latency(), tag, () => {
          if (settled) return;
          settled = true;
          timer.cancel();
          run();
        });
      };
      const attempt = (): void => {
        if (settled || actor.dead) return;
        if (!this.reachable(host, address.slice(0, address.lastIndexOf(':')))) {
          scheduler.schedule(null, RETRY_MS, 'connect again', attempt);
          return;
        }
        const entry = this.#listeners.get(address);
        if (entry === undefined) {
          finish('refused', () => reject(new Lost(`${address} refuses the connection`)));
          return;
        }
        const mine = this.#establish({actor, pool, host}, entry, address);
        scheduler.schedule(actor, timeoutMs, 'connect late', () => {
          if (!mine.taken) mine.close('connected too late');
        });
        finish('connected', () => {
          mine.taken = true;
          resolve(mine);
        });
      };
      scheduler.schedule(null, this.latency(), 'connect', attempt);
    });
  }

  #establish(
    from: {actor: Actor; pool: BufferPool; host: string},
    entry: ListenerEntry,
    address: string,
  ): SimConnection {
    const host = address.slice(0, address.lastIndexOf(':'));
    const [mine, theirs] = connectionPair(
      this,
      {...from, peer: address},
      {actor: entry.actor, pool: entry.pool, host, peer: `${from.host}:${this.#nextPort++}`},
    );
    this.#connections.add(mine);
    this.#connections.add(theirs);
    this.scheduler.schedule(entry.actor, 0, 'accept', () => entry.accept(theirs));
    return mine;
  }
}
