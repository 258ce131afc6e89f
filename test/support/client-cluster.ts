import {Refusal} from '../../src/core/base/errors.js';
import type {Segment} from '../../src/core/base/pool.js';
import {type ClientOptions, type OpenedClient, openClient} from '../../src/core/client/index.js';
import type {MetaServerOptions} from '../../src/core/meta/server.js';
import type {ColumnRef} from '../../src/core/protocol/gen/wire.js';
import {OPS} from '../../src/core/protocol/ops.js';
import {PlainCodec} from '../../src/core/sim/codec.js';
import type {SimEnv, SimMachine} from '../../src/core/sim/machine.js';
import {Handlers} from '../../src/core/transport/handlers.js';
import {Peer} from '../../src/core/transport/peer.js';
import {FakeColumn} from './fake-column.js';
import {META_ADDRESS, MetaCluster, type ToyServer} from './meta-cluster.js';
import {play} from './sim.js';

/** The bytes of one toy server: columns in memory that survive its process. */
class ToyColumns {
  readonly columns = new Map<string, FakeColumn>();
  readonly calls = new Map<string, number>();
  readonly #server: ToyServer;
  badBlocks = 0;
  /** May throw, instead of what was asked. */
  before: (op: string) => void = () => {};

  constructor(server: ToyServer) {
    this.#server = server;
  }

  /** Listens where the server told the meta server. */
  async listen(): Promise<void> {
    const {env, uuid} = this.#server;
    await env.net.listen(`${uuid}:7000`, (connection) => {
      const peer = new Peer(env, connection);
      const open = new Handlers<null>().on(OPS.hello, (q) => {
        if (q.session === 0 || q.server !== uuid) throw new Refusal('WrongServer');
        peer.serve(this.#handlers(env), null);
        return {message: {version: 1, session: q.session}};
      });
      peer.serve(open, null);
    });
  }

  #column(ref: ColumnRef): FakeColumn {
    const key = `${ref.oid}.${ref.chunk}`;
    let column = this.columns.get(key);
    if (column === undefined) {
      column = new FakeColumn(ref.k);
      this.columns.set(key, column);
    }
    return column;
  }

  #check(op: string, epoch: number): void {
    this.calls.set(op, (this.calls.get(op) ?? 0) + 1);
    this.before(op);
    const mine = this.#server.map?.epoch ?? 0;
    if (epoch < mine) throw new Refusal('StaleEpoch');
    if (epoch > mine) throw new Refusal('BehindEpoch');
  }

  #handlers(env: SimEnv): Handlers<null> {
    const {pool} = env;
    const none = {message: {}};
    return new Handlers<null>()
      .on(OPS.write, (q, _c, payload) => {
        const bytes = Buffer.from(pool.view(payload!.offset, payload!.length));
        pool.release(payload!.slot);
        this.#check('write', q.ref.epoch);
        this.#column(q.ref).write(q, bytes);
        return none;
      })
      .on(OPS.delta, (q, _c, payload) => {
        const bytes = Buffer.from(pool.view(payload!.offset, payload!.length));
        pool.release(payload!.slot);
        this.#check('delta', q.ref.epoch);
        return {message: {refused: this.#column(q.ref).delta(q, bytes)}};
      })
      .on(OPS.read, (q) => {
        this.#check('read', q.ref.epoch);
        const {sums, covered, bytes} = this.#column(q.ref).read(q);
        if (bytes === null) return {message: {sums, covered, hole: true}};
        const slot = pool.alloc(bytes.length);
        bytes.copy(pool.bytes, pool.payload(slot));
        const payload = [{slot, offset: pool.payload(slot), length: bytes.length}];
        return {message: {sums, covered, hole: false}, payload};
      })
      .on(OPS.truncate, (q) => {
        this.#check('truncate', q.ref.epoch);
        this.#column(q.ref).truncate(q);
        return none;
      })
      .on(OPS.list, () => ({message: {chunks: [], end: true}}))
      .on(OPS.sync, (q) => {
        this.#check('sync', q.epoch);
        return none;
      })
      .on(OPS.settle, (q) => {
        this.#check('settle', q.epoch);
        return none;
      })
      .on(OPS.badBlock, (q) => {
        this.#check('badBlock', q.ref.epoch);
        this.badBlocks += q.ranges.length;
        return none;
      });
  }
}

/** A meta server, five toy data servers with real bytes, and real clients, in one simulated world. */
export class ClientCluster {
  readonly meta: MetaCluster;
  readonly columns: ToyColumns[] = [];
  readonly machines: SimMachine[] = [];

  constructor(seed: number, options: Partial<MetaServerOptions> = {}) {
    this.meta = new MetaCluster(seed, options);
  }

  static async run(
    story: (c: ClientCluster) => Promise<void>,
    seed = 1,
    options: Partial<MetaServerOptions> = {},
  ): Promise<void> {
    const cluster = new ClientCluster(seed, options);
    await play(cluster.meta.land, async () => {
      await cluster.meta.boot();
      await cluster.boot5();
      await story(cluster);
      if (cluster.meta.failures.length > 0) throw cluster.meta.failures[0];
      await cluster.meta.server.stop();
    });
  }

  /** Five data servers. */
  async boot5(): Promise<void> {
    for (let i = 0; i < 5; i++) {
      const server = await this.meta.addServer(`d${i}`);
      const columns = new ToyColumns(server);
      this.columns.push(columns);
      await columns.listen();
    }
  }

  async client(name: string, options: Partial<ClientOptions> = {}): Promise<TestClient> {
    const machine = this.meta.land.machine(name);
    const env = machine.boot();
    const client = await openClient(
      {...env, codec: new PlainCodec()},
      // The toy servers say that they are nearly full. What is tested with them is columns, of small files, too.
      {meta: META_ADDRESS, name, dirtyBytesMax: 200_000, inlineBytesMax: 0, ...options},
    );
    return new TestClient(client, env, machine);
  }

  /** Restarts a server that was killed, with the bytes that it had. */
  async restart(index: number): Promise<void> {
    await this.meta.servers[index]!.start();
    await this.columns[index]!.listen();
  }
}

/** A client with names and bytes as a test likes them. */
export class TestClient {
  constructor(
    readonly client: OpenedClient,
    readonly env: SimEnv,
    readonly machine: SimMachine,
  ) {}

  async create(name: string): Promise<number> {
    const {attr} = await this.client.create(
      1,
      Buffer.from(name),
      0o100644,
      {uid: 0, gid: 0},
      {exclusive: true, truncate: false},
    );
    return attr.oid;
  }

  async open(name: string, write: boolean): Promise<number> {
    const {oid} = await this.client.lookup(1, Buffer.from(name));
    await this.client.open(oid, {write});
    return oid;
  }

  async write(oid: number, offset: number, bytes: Uint8Array): Promise<void> {
    const {pool} = this.env;
    for (let done = 0; done < bytes.length; ) {
      const part = bytes.subarray(done, done + 65_536);
      const slot = pool.alloc(part.length);
      pool.bytes.set(part, pool.payload(slot));
      const segments = [{slot, offset: pool.payload(slot), length: part.length}];
      await this.client.write(oid, offset + done, segments);
      done += part.length;
    }
  }

  async read(oid: number, offset: number, length: number): Promise<Buffer> {
    const segments: Segment[] = await this.client.read(oid, offset, length);
    const parts = segments.map((s) => Buffer.from(this.env.pool.view(s.offset, s.length)));
    for (const segment of segments) this.env.pool.release(segment.slot);
    return Buffer.concat(parts);
  }

  async close(): Promise<void> {
    await this.client.close(20_000);
    if (this.env.pool.used !== 0) throw new Error(`${this.env.pool.used} slots are still in use`);
  }
}
