import {FsError} from '../../src/core/base/errors.js';
import {SWITCHED} from '../../src/core/base/features.js';
import {latin1} from '../../src/core/base/latin1.js';
import type {Effect, Superblock} from '../../src/core/meta/command.js';
import {Machine, type MachineOptions} from '../../src/core/meta/machine.js';
import type {Attr, Time} from '../../src/core/protocol/gen/wire.js';
import {OPS, type Op} from '../../src/core/protocol/ops.js';
import {SimKv} from '../../src/core/sim/kv.js';
import {CALM_MACHINE, SimLand, type SimMachine} from '../../src/core/sim/machine.js';
import {defer, play} from './sim.js';

export const FORMAT: Superblock = {
  cluster: 'c1',
  rootLayout: {k: 4, m: 1, unitBytes: 65_536, chunkBytes: 2 ** 26, groupCount: 1},
  groupSize: 5,
  features: SWITCHED.map(({name}) => name),
};

export const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');

/** The request as a server gets it: what is left out has its default. */
export const whole = <Q, R>(op: Op<Q, R>, request: Partial<Q>): Q =>
  op.request.decode(op.request.encode(request));

export interface Made {
  mode?: number;
  uid?: number;
  gid?: number;
  groups?: number[];
}

/** A meta machine on a simulated host, which can die and come back. */
export class MetaFixture {
  readonly land: SimLand;
  readonly host: SimMachine;
  readonly kv: SimKv;
  readonly options: Partial<MachineOptions>;
  effects: Effect[] = [];
  failures: unknown[] = [];
  machine!: Machine;
  session = 0;
  #requestId = 0;
  #wall: () => number = () => 0;

  constructor(seed = 1, options: Partial<MachineOptions> = {}) {
    this.land = new SimLand(seed, defer);
    // The meta server has no payload; pools are made anew in each life.
    const pool = {small: 1, medium: 0, large: 0};
    this.host = this.land.machine('meta', {...CALM_MACHINE, pool});
    this.kv = new SimKv(this.land.random.split('kv'));
    this.options = options;
  }

  /** Runs `story` in a world with an open machine that has one session. */
  static run<T>(story: (f: MetaFixture) => Promise<T>, seed = 1): Promise<T> {
    const fixture = new MetaFixture(seed);
    return fixture.play(async () => {
      await fixture.boot();
      fixture.session = await fixture.machine.createSession(bytes('test'));
      return story(fixture);
    });
  }

  play<T>(story: () => Promise<T>): Promise<T> {
    return play(this.land, story);
  }

  async boot(): Promise<Machine> {
    const env = this.host.boot();
    this.#wall = () => env.clock.wall();
    this.machine = await Machine.open(
      {...env, kv: this.kv.attach(env.clock)},
      {
        format: FORMAT,
        onApplied: (effects) => this.effects.push(...effects),
        onFailed: (error) => this.failures.push(error),
        ...this.options,
      },
    );
    return this.machine;
  }

  /** SIGKILL, or a power cut. */
  crash(power: boolean): void {
    this.host.kill(power);
    this.kv.crash();
  }

  /** The time that a change gets which is submitted now. */
  get now(): Time {
    const wall = this.#wall();
    return {sec: Math.floor(wall / 1000), nsec: (wall % 1000) * 1e6};
  }

  /** Virtual milliseconds go by, so that times differ. */
  pass(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.land.scheduler.schedule(null, ms, 'pass', resolve);
    });
  }

  async change<Q, R>(op: Op<Q, R>, request: Partial<Q>, groups: number[] = [1, 2, 3]): Promise<R> {
    const command = {session: this.session, requestId: ++this.#requestId, groups};
    return (await this.machine.submit(op, {...command, request: whole(op, request)})).reply;
  }

  query<Q, R>(op: Op<Q, R>, request: Partial<Q>): R {
    return this.machine.query(op, whole(op, request));
  }

  // ---------------------------------------------------------------- short forms; names are latin1

  attr(oid: number): Attr {
    return this.query(OPS.getattr, {oid}).attr;
  }

  lookup(parent: number, name: string): Attr {
    const {attr} = this.query(OPS.lookup, {parent, name: bytes(name)});
    if (attr === null) throw new FsError('ENOENT', name);
    return attr;
  }

  #create(parent: number, name: string, {mode = 0o755, uid = 10, gid = 20}: Made) {
    const caller = {uid, gid};
    const rest = {rdev: 0, open: false, exclusive: true, target: bytes('')};
    return {parent, name: bytes(name), mode, caller, ...rest};
  }

  async mkdir(parent: number, name: string, made: Made = {}): Promise<Attr> {
    return (await this.change(OPS.mkdir, this.#create(parent, name, made))).attr!;
  }

  async create(parent: number, name: string, made: Made = {}): Promise<Attr> {
    const request = this.#create(parent, name, {mode: 0o644, ...made});
    return (await this.change(OPS.create, request, made.groups)).attr;
  }

  async symlink(parent: number, name: string, target: string): Promise<Attr> {
    const request = {...this.#create(parent, name, {}), target: bytes(target)};
    return (await this.change(OPS.symlink, request)).attr!;
  }

  async mknod(parent: number, name: string, mode: number, rdev = 0): Promise<Attr> {
    const request = {...this.#create(parent, name, {mode}), rdev};
    return (await this.change(OPS.mknod, request)).attr!;
  }

  async link(oid: number, parent: number, name: string): Promise<Attr> {
    return (await this.change(OPS.link, {oid, parent, name: bytes(name)})).attr!;
  }

  unlink(parent: number, name: string) {
    return this.change(OPS.unlink, {parent, name: bytes(name), directory: false});
  }

  rmdir(parent: number, name: string) {
    return this.change(OPS.unlink, {parent, name: bytes(name), directory: true});
  }

  async rename(parent: number, name: string, newParent: number, newName: string, flags = 0) {
    const request = {parent, name: bytes(name), newParent, newName: bytes(newName), flags};
    await this.change(OPS.rename, request);
  }

  async setxattr(oid: number, name: string, value: string, flags = 0): Promise<void> {
    await this.change(OPS.setxattr, {oid, name: bytes(name), value: bytes(value), flags});
  }

  getxattr(oid: number, name: string): string {
    return latin1(this.query(OPS.getxattr, {oid, name: bytes(name)}).value);
  }

  async removexattr(oid: number, name: string): Promise<void> {
    await this.change(OPS.removexattr, {oid, name: bytes(name)});
  }

  listxattr(oid: number): string[] {
    return this.query(OPS.listxattr, {oid}).names.map(latin1);
  }

  names(oid: number): string[] {
    const found: string[] = [];
    for (let cookie = 0; ; ) {
      const page = this.query(OPS.readdir, {oid, cookie, maxEntries: 100, attributes: false});
      found.push(...page.entries.map((entry) => latin1(entry.name)));
      if (page.end) return found;
      cookie = page.entries.at(-1)!.cookie;
    }
  }
}

/** The errno of what `run` throws or rejects with; null when it does not. */
export async function errnoOf(run: () => unknown): Promise<string | null> {
  try {
    await run();
    return null;
  } catch (error) {
    if (error instanceof FsError) return error.errno;
    throw error;
  }
}
