import {Refusal} from '../../src/core/base/errors.js';
import {type Clock, sleep} from '../../src/core/env/clock.js';
import {MetaServer, type MetaServerOptions} from '../../src/core/meta/server.js';
import type * as wire from '../../src/core/protocol/gen/wire.js';
import {OPS, type Op} from '../../src/core/protocol/ops.js';
import {SimKv} from '../../src/core/sim/kv.js';
import {type SimEnv, SimLand, type SimMachine} from '../../src/core/sim/machine.js';
import {Handlers} from '../../src/core/transport/handlers.js';
import {Peer} from '../../src/core/transport/peer.js';
import {FORMAT} from './meta.js';
import {defer, play} from './sim.js';

export const META_ADDRESS = 'meta:7400';

/** A meta server on a simulated host, with toy data servers and clients that do what the protocol asks of them. */
export class MetaCluster {
  readonly land: SimLand;
  readonly host: SimMachine;
  readonly kv: SimKv;
  readonly options: Partial<MetaServerOptions>;
  readonly failures: unknown[] = [];
  readonly servers: ToyServer[] = [];
  server!: MetaServer;
  clock!: Clock;

  constructor(seed: number, options: Partial<MetaServerOptions> = {}) {
    this.land = new SimLand(seed, defer);
    this.host = this.land.machine('meta');
    this.kv = new SimKv(this.land.random.split('kv'));
    this.options = options;
  }

  /** Runs a story with a meta server and five data servers; then nothing may have failed. */
  static async run(story: (c: MetaCluster) => Promise<void>, seed = 1, servers = 5): Promise<void> {
    const cluster = new MetaCluster(seed);
    await play(cluster.land, async () => {
      await cluster.boot();
      for (let i = 0; i < servers; i++) await cluster.addServer(`d${i}`);
      await story(cluster);
      if (cluster.failures.length > 0) throw cluster.failures[0];
      await cluster.server.stop();
    });
  }

  async boot(): Promise<void> {
    const env = this.host.boot();
    this.clock = env.clock;
    this.server = new MetaServer(
      {...env, kv: this.kv.attach(env.clock)},
      {
        address: META_ADDRESS,
        rootLayout: FORMAT.rootLayout,
        groupSize: FORMAT.groupSize,
        onFailed: (error) => this.failures.push(error),
        ...this.options,
      },
    );
    await this.server.start();
  }

  crash(power: boolean): void {
    this.host.kill(power);
    this.kv.crash();
  }

  pass(ms: number): Promise<void> {
    return sleep(this.clock, ms);
  }

  async addServer(uuid: string, host = this.land.machine(uuid)): Promise<ToyServer> {
    const server = new ToyServer(host, uuid);
    this.servers.push(server);
    await server.start();
    return server;
  }

  /** `server`: in whose process it works. */
  async client(name: string, server = '', host = this.land.machine(name)): Promise<ToyClient> {
    const client = new ToyClient(host, name);
    client.server = server;
    await client.connect();
    return client;
  }

  async admin(): Promise<Peer> {
    const env = this.land.machine(`admin ${this.land.scheduler.events}`).boot();
    const peer = new Peer(env, await env.net.connect(META_ADDRESS, 1_000));
    await peer.hello({role: 'admin'});
    return peer;
  }

  async status(): Promise<wire.StatusReply> {
    const admin = await this.admin();
    const {message} = await admin.call(OPS.status, {});
    admin.close('done');
    return message;
  }

  /** e empty, R ready, a away, c recovering. */
  async states(): Promise<string> {
    const {map} = await this.status();
    return map.groups[0]!.slots.map(({state}) => 'eRac'[state]).join('');
  }
}

/** Obeys maps, removes what it is told to. */
export class ToyServer {
  readonly uuid: string;
  readonly host: SimMachine;
  env!: SimEnv;
  peer: Peer | null = null;
  epochs: number[] = [];
  removed: number[] = [];
  map: wire.ClusterMap | null = null;
  session = 0;
  resync = 0;
  done = 0;
  /** Does not acknowledge maps. */
  deaf = false;
  group = 1;

  constructor(host: SimMachine, uuid: string) {
    this.host = host;
    this.uuid = uuid;
  }

  /** A new process. */
  async start(): Promise<void> {
    this.env = this.host.boot();
    this.session = 0;
    this.done = 0;
    await this.connect();
    this.#beat();
  }

  async connect(): Promise<void> {
    const peer = new Peer(this.env, await this.env.net.connect(META_ADDRESS, 1_000));
    peer.serve(
      new Handlers<null>()
        .on(OPS.mapPush, async ({map}) => {
          while (this.deaf) await sleep(this.env.clock, 100);
          this.map = map;
          this.epochs.push(map.epoch);
          return {message: {epoch: map.epoch}};
        })
        .on(OPS.remove, ({oids}) => {
          this.removed.push(...oids);
          return {message: {}};
        }),
      null,
    );
    const message = await peer.hello({
      role: 'data',
      server: this.uuid,
      group: this.group,
      address: `${this.uuid}:7000`,
      session: this.session,
    });
    this.session = message.session;
    this.peer = peer;
  }

  kill(): void {
    this.host.kill(false);
  }

  recovered(): Promise<unknown> {
    return this.peer!.call(OPS.recovered, {group: 1, slot: 0, epoch: this.map!.epoch});
  }

  #beat(): void {
    const figures = {totalBytes: 1_000_000, freeBytes: 500_000, badBlocks: 0};
    this.peer
      ?.call(OPS.heartbeat, {epoch: this.map?.epoch ?? 0, ...figures, doneResync: this.done})
      .then(
        ({message}) => {
          if (message.resync > 0) this.resync = this.done = message.resync;
        },
        () => {},
      );
    this.env.clock.timer(1_000, () => this.#beat());
  }
}

/** Knows what it was granted; obeys recalls at once unless it is stubborn. */
export class ToyClient {
  readonly host: SimMachine;
  readonly name: string;
  env: SimEnv;
  peer!: Peer;
  session = 0;
  /** The session that it knows it has lost. */
  lost = 0;
  boot = 0;
  resumed = false;
  epoch = 0;
  stubborn = false;
  /** Of the data server in whose process it works. */
  server = '';
  /** Sends no heartbeats. */
  silent = false;
  readonly held = new Map<number, number>();
  readonly opens = new Map<number, number>();
  readonly sizes = new Map<number, number>();
  /** Has sent a yield with its size, which has no answer. */
  readonly yielding = new Set<number>();
  readonly recalls: {oid: number; keep: number}[] = [];
  reports = 0;
  #id = 0;
  #beating = false;

  constructor(host: SimMachine, name: string) {
    this.host = host;
    this.name = name;
    this.env = host.boot();
  }

  async connect(reclaim = true): Promise<void> {
    const {env} = this;
    this.peer = new Peer(env, await env.net.connect(META_ADDRESS, 1_000));
    this.peer.serve(this.#handlers(), null);
    const {session, lost, name, server} = this;
    const message = await this.peer.hello({role: 'client', session, lost, name, server});
    this.session = message.session;
    this.resumed = message.resumed;
    this.boot = message.boot;
    if (message.resumed && reclaim) await this.reclaim();
    if (!this.#beating) this.#beat();
    this.#beating = true;
  }

  async reclaim(): Promise<void> {
    const oids = [...new Set([...this.held.keys(), ...this.opens.keys(), ...this.yielding])];
    await this.peer.call(OPS.reclaim, {
      oids,
      modes: oids.map((oid) => this.held.get(oid) ?? 0),
      opens: oids.map((oid) => this.opens.get(oid) ?? 0),
      yielding: oids.map((oid) => this.yielding.has(oid)),
    });
    await this.peer.call(OPS.reclaim, {});
  }

  /** `id`: of a request that is sent again. */
  async call<Q, R>(op: Op<Q, R>, request: Partial<Q>, id?: number): Promise<R> {
    const options = {id: id ?? ++this.#id, deadlineMs: 60_000};
    return (await this.peer.call(op, request, op.mutates ? options : {deadlineMs: 60_000})).message;
  }

  get lastId(): number {
    return this.#id;
  }

  async lease(oid: number, mode: number): Promise<number> {
    const reply = await this.call(OPS.lease, {oid, mode});
    this.#take(oid, reply.mode);
    return reply.mode;
  }

  async create(name: string): Promise<wire.OpenReply> {
    const reply = await this.call(OPS.create, {
      parent: 1,
      name: Buffer.from(name),
      mode: 0o100644,
      caller: {uid: 0, gid: 0},
      open: true,
    });
    this.#opened(reply);
    return reply;
  }

  async open(oid: number, write: boolean): Promise<wire.OpenReply> {
    const reply = await this.call(OPS.open, {oid, write});
    this.#opened(reply);
    return reply;
  }

  unlink(name: string): Promise<wire.UnlinkReply> {
    return this.call(OPS.unlink, {parent: 1, name: Buffer.from(name)});
  }

  getattr(oid: number): Promise<wire.AttrReply> {
    return this.call(OPS.getattr, {oid});
  }

  async release(oid: number): Promise<void> {
    this.opens.delete(oid);
    await this.call(OPS.release, {oids: [oid]});
  }

  /** Goes down to `keep`, and says the size with it. */
  async yield(oid: number, keep: number): Promise<void> {
    const held = this.held.get(oid) ?? 0;
    if (held <= keep) return;
    const attr = held === 2 ? this.#item(oid) : null;
    if (keep === 0) this.held.delete(oid);
    else this.held.set(oid, keep);
    await this.call(OPS.yieldLease, {oid, keep, attr});
  }

  #item(oid: number): wire.FlushItem | null {
    const size = this.sizes.get(oid);
    if (size === undefined) return null;
    const times = {
      mtime: null,
      atime: null,
      hasMtime: false,
      hasAtime: false,
      hasInline: false,
      grow: false,
      inlineBytes: 0,
    };
    return {oid, size, hasSize: true, blocks: Math.ceil(size / 512), ...times};
  }

  #take(oid: number, mode: number): void {
    if (mode > 0) this.held.set(oid, Math.max(mode, this.held.get(oid) ?? 0));
  }

  #opened(reply: wire.OpenReply): void {
    const {oid} = reply.attr;
    this.opens.set(oid, (this.opens.get(oid) ?? 0) + 1);
    this.#take(oid, reply.lease);
  }

  #handlers(): Handlers<null> {
    return new Handlers<null>()
      .on(OPS.mapPush, ({map}) => {
        this.epoch = Math.max(this.epoch, map.epoch);
        return {message: {epoch: map.epoch}};
      })
      .on(OPS.recall, ({oid, keep}) => {
        this.recalls.push({oid, keep});
        // The reply with the lease that this recalls has come, but its promise may not have been served.
        // It caches nothing of directories: those leases it gives back at once.
        if (oid === 1) void this.call(OPS.yieldLease, {oid, keep, attr: null}).catch(() => {});
        else if (!this.stubborn)
          this.env.clock.soon(() => void this.yield(oid, keep).catch(() => {}));
        return {message: {}};
      })
      .on(OPS.reportAttr, ({oids}) => {
        this.reports++;
        return {
          message: {items: oids.map((oid) => this.#item(oid)).filter((item) => item !== null)},
        };
      });
  }

  #beat(): void {
    if (!this.silent && !this.peer.closed) {
      this.peer.call(OPS.heartbeat, {epoch: this.epoch}).catch(() => {});
    }
    this.env.clock.timer(1_000, () => this.#beat());
  }
}

/** The kind of refusal that a promise rejects with. */
export async function refusal(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'none';
  } catch (error) {
    return error instanceof Refusal ? error.kind : String(error);
  }
}
