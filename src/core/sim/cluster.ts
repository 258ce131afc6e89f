import {messageOf} from '../base/errors.js';
import type {BufferPool, PoolShape} from '../base/pool.js';
import {CopyAgent} from '../client/copy-agent.js';
import {openClient} from '../client/index.js';
import {MoveAgent} from '../client/move-agent.js';
import {RepairAgent} from '../client/repair-agent.js';
import {ScrubAgent} from '../client/scrub-agent.js';
import {SLOT} from '../cluster/map.js';
import {DataServer} from '../data/server.js';
import type {SlotInfo, StatusReply} from '../protocol/gen/wire.js';
import type {Call} from './call.js';
import type {SimDisk} from './disk.js';
import type {Victims} from './faults.js';
import {FullDisks, type Fullness} from './full-disks.js';
import type {History} from './history.js';
import {KernelCache} from './kernel-cache.js';
import type {ClientLife, ClientSeat} from './life.js';
import {LockWatch} from './lock-watch.js';
import {losing} from './losing.js';
import {type SimEnv, SimLand, type SimMachine} from './machine.js';
import {SimMetas} from './metas.js';
import {Moves} from './moves.js';
import {Operator} from './operator.js';
import {CLIENT_POOL, DATA_POOL, META_POOL} from './pools.js';
import {Recorder} from './recorder.js';
import {Rot} from './rot.js';
import {LazyCodec, skipOneRecall} from './sabotage.js';
import {type Defer, SimFailure} from './scheduler.js';
import {Scrubs} from './scrubs.js';
import {spoil} from './spoil.js';
import type {WorldShape} from './swarm.js';
import {Transitions} from './transitions.js';

const [DATA_PORT, GROUP] = [7400, 1];
const [CLOSE_MS, START_MS_MAX] = [60_000, 60_000];

/** By then after its start every client has noticed that the meta server was away: a heartbeat and its deadline. */
const CUT_KNOWN_MS = 6000;
/** By then after a client's death its session is over: silence (15 s) or the grace period (11 s), its fence, a restart of the meta server in between. */
const GONE_MS = 60_000;
const [RESTART_MS, SEAT_POLL_MS] = [500, 20];

/** A whole cluster in one process: one meta server, a group of data servers, clients. The real classes; only Env is simulated. */
export class SimCluster implements Victims {
  readonly shape: WorldShape;
  readonly land: SimLand;
  readonly #history: History;
  readonly #trace: ((line: string) => void) | null;
  readonly metas: SimMetas;
  /** Of all meta servers. */
  readonly #address: string;
  readonly #datas: SimMachine[];
  readonly operator: Operator;
  readonly #seats: ClientSeat[] = [];
  readonly #pools = new Map<string, BufferPool>();
  readonly #locks = new LockWatch();
  readonly full: FullDisks;
  #monitor: ClientLife | null = null;
  readonly #rot = new Rot();
  readonly scrubs: Scrubs;
  readonly moves: Moves;
  readonly transitions = new Transitions();
  #nextLife = 1;
  /** Data servers without a group of their own. */
  readonly #waits = new Set<number>();
  /** The newest life of each. */
  readonly #servers = new Map<number, DataServer>();
  /** Data servers whose disk fails, or did a moment ago. */
  readonly #spoilt = new Set<number>();

  constructor(
    shape: WorldShape,
    defer: Defer,
    history: History,
    trace: ((line: string) => void) | null,
  ) {
    this.shape = shape;
    this.#address = SimMetas.addresses(shape.metas ?? 1);
    this.#history = history;
    this.#trace = trace;
    this.land = new SimLand(
      shape.seed,
      defer,
      shape.network,
      trace && ((time, node, line) => trace(`${time.toFixed(1).padStart(9)} ${node} ${line}`)),
    );
    this.full = new FullDisks(() => this.land.scheduler.now);
    this.scrubs = new Scrubs(this.#address, this.#host('admin'), (ms) => this.pause(ms));
    this.moves = new Moves(this.#address, shape, this.#host('mover'), this);
    const metas = SimMetas.names(shape.metas ?? 1).map((name) => this.#machine(name, META_POOL));
    this.metas = new SimMetas(this.land, metas, {
      shape,
      boot: (machine) => this.#boot(machine),
      full: this.full,
      transitions: this.transitions,
      users: () => [...this.#datas, ...this.#seats.map(({machine}) => machine)],
      cut: () => this.#mark('cut'),
      known: () =>
        this.land.scheduler.schedule(null, CUT_KNOWN_MS, 'cut known', () =>
          this.#mark('cut-known'),
        ),
    });
    this.operator = new Operator(this.#machine('operator', CLIENT_POOL), this.#address, (line) =>
      this.note(line),
    );
    this.#datas = Array.from({length: shape.servers + shape.spares}, (_, i) =>
      this.#machine(`data${i}`, DATA_POOL),
    );
    for (let i = shape.servers; i < this.#datas.length; i++) this.#waits.add(i);
  }

  get disks(): SimDisk[] {
    return this.#datas.map((machine) => machine.disk);
  }

  diskAt(address: string): SimDisk | null {
    return this.#datas.find((machine) => address === `${machine.name}:${DATA_PORT}`)?.disk ?? null;
  }

  get monitor(): Recorder {
    if (this.#monitor === null) throw new SimFailure('the cluster has not started');
    return this.#monitor.recorder;
  }

  /** Starts everything; resolves when the group is ready and clients are connected. */
  async start(): Promise<void> {
    this.metas.startAll();
    this.#datas.forEach((_, index) => {
      this.startData(index);
    });
    const seat = this.#seat('monitor');
    await this.#openClient(seat);
    this.#monitor = seat.life;
    const {scheduler} = this.land;
    const end = scheduler.now + START_MS_MAX;
    for (;;) {
      const {map} = await this.status();
      const slots = map.groups.flatMap((group) => group.slots);
      if (slots.filter((slot) => slot.state === SLOT.ready).length === this.shape.servers) break;
      if (scheduler.now > end) throw new SimFailure('the cluster does not get ready');
      await this.pause(100);
    }
    for (let index = 0; index < this.shape.clients; index++) {
      this.#seats.push(this.#seat(`client${index}`));
    }
    await Promise.all(this.#seats.map((seat) => this.#openClient(seat)));
  }

  /** The client's life that is, or the next one. */
  async client(index: number): Promise<ClientLife> {
    for (;;) {
      const {life} = this.#seats[index]!;
      if (life !== null) return life;
      await this.pause(SEAT_POLL_MS);
    }
  }

  status(): Promise<StatusReply> {
    if (this.#monitor === null) throw new SimFailure('the cluster has not started');
    return this.#monitor.client.status();
  }

  async closeClients(): Promise<void> {
    await Promise.all(this.#seats.map((seat) => seat.life?.client.close(CLOSE_MS)));
  }

  async closeMonitor(): Promise<void> {
    await this.#monitor?.client.close(CLOSE_MS);
  }

  /** Processes that hold pool memory, for messages; empty when none does. */
  get poolsUsed(): string {
    return [...this.#pools]
      .filter(([, pool]) => pool.used > 0)
      .map(([name, pool]) => `${name} holds ${pool.used} slots`)
      .join(', ');
  }

  pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.land.scheduler.schedule(null, ms, 'pause', resolve));
  }

  note(line: string): void {
    this.#trace?.(`${this.land.scheduler.now.toFixed(1).padStart(9)} --- ${line}`);
  }

  // Victims

  startData(index: number): void {
    const machine = this.#datas[index]!;
    const booted = this.#boot(machine);
    const env = {...booted, log: this.scrubs.watch(booted.log)};
    const listen = `${machine.name}:${DATA_PORT}`;
    const scrubPeers: ScrubAgent = new ScrubAgent(env, this.#address, {
      group: () => server.group,
      slot: () => server.slot,
      uuid: () => server.uuid,
    });
    const mover: MoveAgent = new MoveAgent(env, this.#address, {
      name: () => `${server.group}.${server.slot}`,
      uuid: () => server.uuid,
    });
    const server: DataServer = new DataServer(env, {
      group: this.#waits.has(index) ? 0 : GROUP,
      domain: machine.name,
      metaAddress: this.#address,
      listen,
      onMap: (map, slot) => agent.onMap(map, slot),
      onMoves: (order) => mover.ordered(order),
      onResync: (order) => agent.onResync(order),
      scrubPeers,
      readCopies: new CopyAgent(env, this.#address, () => server.uuid),
      onFailed: (error) => this.#stopped(index, env, error),
    });
    const agent = new RepairAgent(env, this.#address, {
      group: () => server.group,
      uuid: () => server.uuid,
      intents: () => server.startIntents,
      whole: () => server.whole || server.tookOver,
      recovered: (epoch) => server.recovered(epoch),
      resyncDone: (order) => server.resyncDone(order),
      order: () => server.recoveryOrder,
      progress: (left, speed) => server.recoveryProgress(left, speed),
    });
    this.#servers.set(index, server);
    const started = env.disk.lock().then(() => server.start());
    started.catch((error: unknown) => {
      if (this.full.desperate(machine)) this.#stopped(index, env, error);
      else if (this.shape.spares === 0) this.land.scheduler.fail(error);
      else this.#refused(index, env, error);
    });
  }

  /** On a disk that fails it cannot start. Or another server has its slot: its folder is emptied, and it waits for one. */
  #refused(index: number, env: SimEnv, error: unknown): void {
    if (env.actor.dead) return;
    if (this.#spoilt.has(index)) this.#stopped(index, env, error);
    else if (!/its slot was given|has no free slot/.test(messageOf(error)))
      this.land.scheduler.fail(error);
    else this.#emptied(index);
  }

  #emptied(index: number): void {
    this.note(`data server ${index} is emptied, and waits for a slot`);
    this.killData(index, false);
    this.wipeData(index);
    this.#waits.add(index);
    this.startData(index);
  }

  async drainData(index: number): Promise<void> {
    const slot = (await this.#slots()).findIndex(({server}) => server?.address === this.#at(index));
    if (slot < 0) return;
    await this.operator.drain(GROUP, slot);
  }

  async dataRecovers(index: number): Promise<boolean> {
    const address = this.#at(index);
    const slots = await this.#slots();
    return slots.some((one) => one.server?.address === address && one.state === SLOT.recovering);
  }

  #at(index: number): string {
    return `${this.#datas[index]!.name}:${DATA_PORT}`;
  }

  /** Of the group; none while they are not known. */
  async #slots(): Promise<SlotInfo[]> {
    return (await this.status().catch(() => null))?.map.groups[0]?.slots ?? [];
  }

  killData(index: number, power: boolean): void {
    this.#datas[index]!.kill(power);
  }

  wipeData(index: number): void {
    this.#datas[index]!.disk.wipe();
  }

  freezeData(index: number): void {
    this.#datas[index]!.freeze();
  }

  thawData(index: number): void {
    this.#datas[index]!.thaw();
  }

  spoilData(index: number, what: 'reads' | 'all', one: boolean): void {
    this.#spoilt.add(index);
    const random = this.land.random.split(`spoil ${this.land.scheduler.events}`);
    spoil(this.#datas[index]!.disk, what, one, random);
  }

  unspoilData(index: number): void {
    this.land.scheduler.schedule(null, RESTART_MS, 'unspoilt', () => this.#spoilt.delete(index));
    this.#datas[index]!.disk.fault = () => null;
  }

  fill(who: number | 'meta', how: Fullness): void {
    const machine = who === 'meta' ? this.metas.machine(0) : this.#datas[who]!;
    this.full.fill(machine, how, this.land.random.split(`fill ${this.land.scheduler.events}`));
  }

  relieve(who: number | 'meta'): void {
    this.full.relieve(who === 'meta' ? this.metas.machine(0) : this.#datas[who]!);
  }

  async settled(): Promise<boolean> {
    return (await this.status().catch(() => null))?.recoveryLeft === 0;
  }

  async dataReady(index: number): Promise<boolean> {
    const status = await this.status().catch(() => null);
    const address = `${this.#datas[index]!.name}:${DATA_PORT}`;
    const slots = status?.map.groups.flatMap((group) => group.slots) ?? [];
    if (status !== null && !slots.some(({server}) => server?.address === address)) {
      if (status.waiting.some((server) => server.address === address))
        return slots.every(({state}) => state === SLOT.ready);
      // It runs, and nobody has told it.
      const had = (this.#servers.get(index)?.group ?? 0) > 0;
      if (had && !this.#datas[index]!.dead) this.#emptied(index);
      return false;
    }
    return slots.some(
      ({server, state}) =>
        server?.connected === true && server.address === address && state === SLOT.ready,
    );
  }

  /** Those who run and whose slot was given to others are emptied, as an administrator would do who sees their log. */
  async tidyServers(): Promise<void> {
    for (let index = 0; index < this.#datas.length; index++) await this.dataReady(index);
  }

  killClient(index: number): void {
    this.#seats[index]!.kill();
  }

  async startClient(index: number): Promise<void> {
    await this.#openClient(this.#seats[index]!);
  }

  freezeClient(index: number): void {
    this.#seats[index]!.machine.freeze();
  }

  thawClient(index: number): void {
    this.#seats[index]!.machine.thaw();
  }

  partition(a: string, b: string): void {
    this.land.network.partition(a, b);
  }

  healPartitions(): void {
    this.land.network.heal();
  }

  reset(): void {
    this.land.network.resetOne();
  }

  flip(index: number): boolean {
    const random = this.land.random.split(`flip ${this.land.scheduler.events}`);
    return this.#rot.flip(this.#datas[index]!.disk, random);
  }

  unflip(): void {
    this.#rot.unflip();
  }

  #machine(name: string, pool: PoolShape): SimMachine {
    const {disk, skewMsMax, driftMax} = this.shape;
    const random = this.land.random.split(`clock ${name}`);
    const clock = {
      zero: random.float() * 1e6,
      skew: (random.float() * 2 - 1) * skewMsMax,
      rate: 1 + (random.float() * 2 - 1) * driftMax,
    };
    return this.land.machine(name, {disk, clock, pool});
  }

  #host(name: string): () => SimMachine {
    let there: SimMachine | null = null;
    return () => (there ??= this.#machine(name, CLIENT_POOL));
  }

  #boot(machine: SimMachine): SimEnv {
    const env = machine.boot();
    this.#pools.set(machine.name, env.pool);
    env.actor.onDeath(() => this.#pools.delete(machine.name));
    return env;
  }

  #seat(name: string): ClientSeat {
    return {machine: this.#machine(name, CLIENT_POOL), lives: 0, life: null, kill: () => {}};
  }

  async #openClient(seat: ClientSeat): Promise<void> {
    const {machine} = seat;
    const env = this.#boot(machine);
    const number = this.#nextLife++;
    let died = (): void => {};
    const death = new Promise<void>((resolve) => {
      died = resolve;
    });
    seat.kill = () => {
      machine.kill(false);
      seat.life = null;
      this.#mark('crash', number);
      this.#history.died(number, this.land.scheduler.now + GONE_MS);
      died();
    };
    const {sabotage} = this.shape;
    const codec = sabotage === 'redundancy' ? new LazyCodec(env.random) : env.codec;
    const kernel = new KernelCache(env.clock);
    const losses = new Set<number>();
    const lost = (oid: number, full: boolean): void => {
      losses.add(oid);
      this.#record({kind: 'loss', client: number, oid, full});
    };
    const client = await openClient(
      {...env, codec, log: losing(env.log, lost)},
      {
        meta: this.#address,
        name: `${machine.name}.${seat.lives++}`,
        dirtyBytesMax: this.shape.dirtyBytesMax,
        inlineBytesMax: this.shape.inlineBytesMax,
        keepBlocks: !this.shape.readCopies,
        writeback: this.shape.writeback,
        writeThrough: this.shape.cache !== 'full',
        cacheNames: this.shape.cache !== 'none',
        connectMs: START_MS_MAX,
        ...(this.shape.openAhead ? {opensBeforeAhead: 1} : {}),
        cacheOwner: kernel,
      },
    );
    if (sabotage === 'recall') skipOneRecall(client);
    const recorder = new Recorder(
      number,
      kernel.over(client),
      env.pool,
      this.#history,
      this.land.scheduler,
      this.#locks,
      this.shape.openAhead,
      this.full,
    );
    const {session} = client.parts;
    this.#locks.born(number, () => (!env.actor.dead && session.valid ? session.generation : -1));
    seat.life = {recorder, client, clock: env.clock, death, losses};
  }

  /** Something that programs did not do, but must live with. */
  #mark(kind: 'crash' | 'cut' | 'cut-known', client = 0): void {
    this.#record({kind, client});
  }

  #record(call: Call): void {
    const entry = this.#history.begin(call, this.land.scheduler.now);
    this.#history.end(entry, {done: true});
  }

  /** A data server that cannot go on stops its process; one whose disk failed is started again, as systemd would. */
  #stopped(index: number, {actor}: SimEnv, error: unknown): void {
    const bad = this.#spoilt.has(index) || this.full.desperate(this.#datas[index]!);
    if (!bad) this.land.scheduler.fail(error);
    if (actor.dead) return;
    this.#datas[index]!.kill(false);
    this.land.scheduler.schedule(null, RESTART_MS, 'restart', () => {
      if (this.#datas[index]!.dead) this.startData(index);
    });
  }
}
