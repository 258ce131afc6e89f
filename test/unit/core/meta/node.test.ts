// Goal: when the active meta server goes, another one goes on with everything that anybody was told, and there are never two (issue 6; SEEDS.md
// 6.4 points 11, 14, 17). Method: whole meta servers and clients on simulated hosts, which are killed, stopped and cut off; a coordinator in memory.
import {describe, expect, test} from '@jest/globals';
import {Lost} from '../../../../src/core/base/errors.js';
import {ROOT_OID} from '../../../../src/core/base/ids.js';
import {type OpenedClient, openClient} from '../../../../src/core/client/index.js';
import {sleep} from '../../../../src/core/env/clock.js';
import {FORGOTTEN} from '../../../../src/core/meta/election.js';
import {MetaServer} from '../../../../src/core/meta/server.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {Handlers} from '../../../../src/core/transport/handlers.js';
import {Peer} from '../../../../src/core/transport/peer.js';
import {FORMAT} from '../../../support/meta.js';
import {MetaNodes, NodeFixture, TTL_MS} from '../../../support/meta-nodes.js';

const CALLER = {uid: 0, gid: 0, groups: []};

/** A client that changes names without a pause; what it was told, and how long it ever waited. */
class Worker {
  readonly made: string[] = [];
  longest = 0;
  failed: unknown = null;
  client!: OpenedClient;
  readonly #name: string;
  readonly #c: MetaNodes;
  readonly #restMs: number;
  #stop = false;
  #done: Promise<void> = Promise.resolve();

  constructor(c: MetaNodes, name: string, restMs = 5) {
    this.#c = c;
    this.#name = name;
    this.#restMs = restMs;
  }

  async start(writeback = false): Promise<this> {
    const env = this.#c.land.machine(this.#name).boot();
    this.client = await openClient(env, {meta: this.#c.addresses, name: this.#name, writeback});
    this.#done = this.#run().catch((error) => {
      this.failed = error;
    });
    return this;
  }

  async #run(): Promise<void> {
    for (let i = 0; !this.#stop; i++) {
      const name = `${this.#name}.${i}`;
      const began = this.#c.clock.now();
      await this.client.mkdir(ROOT_OID, Buffer.from(name), 0o755, CALLER);
      this.longest = Math.max(this.longest, this.#c.clock.now() - began);
      this.made.push(name);
      await this.#c.pass(this.#restMs);
    }
  }

  async end(): Promise<string[]> {
    this.#stop = true;
    await this.#done;
    if (this.failed !== null) throw this.failed;
    await this.client.syncAll();
    return this.made;
  }
}

/** All names of the root, through a new client. */
async function names(c: MetaNodes, name: string): Promise<string[]> {
  const env = c.land.machine(name).boot();
  const client = await openClient(env, {meta: c.addresses, name});
  const found: string[] = [];
  for (let after = 0; ; ) {
    const {entries} = await client.readdir(ROOT_OID, after, 1000, false);
    if (entries.length === 0) break;
    found.push(...entries.map((entry) => Buffer.from(entry.name).toString()));
    after = entries.at(-1)!.cookie;
  }
  await client.close(5000);
  return found.filter((one) => one !== '.' && one !== '..').sort();
}

describe('several meta servers', () => {
  for (const how of ['killed', 'without power', 'stopped', 'cut off'] as const)
    test(`the active one is ${how}: programs wait and see no error; nothing is lost or done twice`, () =>
      MetaNodes.run(2, async (c) => {
        const workers = [await new Worker(c, 'a').start(), await new Worker(c, 'b').start(true)];
        await c.pass(2000);
        const [first] = c.nodes;
        if (how === 'killed' || how === 'without power') first!.host.kill(how !== 'killed');
        if (how === 'stopped') first!.host.freeze();
        if (how === 'cut off') {
          for (const other of ['m1', 'a', 'b']) c.land.network.partition('m0', other);
          first!.cut = true;
        }
        expect(await c.active(0)).toBe(1);
        await c.pass(5000);
        if (how === 'stopped') first!.host.thaw();
        else if (how === 'cut off') {
          c.land.network.heal();
          first!.cut = false;
        } else await first!.start();
        await c.inSync(0);
        const made = (await Promise.all(workers.map((one) => one.end()))).flat().sort();
        expect(await names(c, 'reader')).toEqual(made);
        expect(made.length).toBeGreaterThan(500);
        expect(Math.max(...workers.map(({longest}) => longest))).toBeLessThan(
          how === 'killed' ? 5000 : 10_000,
        );
        expect(c.nodes.map(({node}) => node.role)).toEqual(['standby', 'active']);
      }));

  test('its port is its own while it changes its role, whoever waits for ports', () =>
    MetaNodes.run(2, async (c) => {
      const {env, node, address} = c.nodes[1]!;
      let [taken, waits] = [0, true];
      const grab = async (): Promise<void> => {
        for (; waits; await sleep(env.clock, 0.01))
          await env.net
            .listen(address, () => {})
            .then(
              () => taken++,
              () => {},
            );
      };
      const grabbed = grab();
      c.nodes[0]!.host.kill(false);
      expect(await c.active(0)).toBe(1);
      waits = false;
      await grabbed;
      expect([taken, node.role]).toEqual([0, 'active']);
    }));

  test('the way between the two is cut, and a moment later the active one is killed: what it could not pass on it has told nobody', () =>
    MetaNodes.run(2, async (c) => {
      const worker = await new Worker(c, 'a').start();
      await c.pass(1000);
      c.land.network.partition('m0', 'm1');
      await c.pass(400);
      c.nodes[0]!.host.kill(false);
      c.land.network.heal();
      expect(await c.active(0)).toBe(1);
      await c.pass(1500);
      await c.nodes[0]!.start();
      await c.inSync(0);
      const made = (await worker.end()).sort();
      expect(await names(c, 'reader')).toEqual(made);
    }));

  test('a stopped one that wakes answers nobody, from whatever it knows', () =>
    MetaNodes.run(2, async (c) => {
      const env = c.land.machine('x').boot();
      const peer = new Peer(env, await env.net.connect('m0:7400', 1000));
      peer.serve(new Handlers<null>(), null);
      await peer.hello({role: 'client', name: 'x'});
      const lookup = {parent: ROOT_OID, name: Buffer.from('a.0')};
      expect((await peer.call(OPS.lookup, lookup)).message.attr).toBeNull();
      c.nodes[0]!.host.freeze();
      const worker = await new Worker(c, 'a').start();
      while (worker.made.length === 0) await c.pass(100);
      const asked = peer.call(OPS.lookup, lookup, {deadlineMs: 5000});
      const beat = peer.call(OPS.heartbeat, {epoch: 0}, {deadlineMs: 5000});
      await c.pass(100);
      c.nodes[0]!.host.thaw();
      await expect(asked).rejects.toThrow(Lost);
      await expect(beat).rejects.toThrow(Lost);
      await worker.end();
    }));

  test('again and again, each in its turn', () =>
    MetaNodes.run(3, async (c) => {
      const worker = await new Worker(c, 'a').start();
      for (let round = 0; round < 12; round++) {
        await c.pass(700);
        const at = await c.active();
        const {host} = c.nodes[at]!;
        if (round % 3 === 2) {
          host.freeze();
          await c.active(at);
          host.thaw();
        } else {
          host.kill(round % 3 === 1);
          await c.active(at);
          await c.nodes[at]!.start();
        }
        await c.inSync(at);
      }
      const made = (await worker.end()).sort();
      expect(await names(c, 'reader')).toEqual(made);
    }));

  test('the coordinator is away for less than the lease: nobody notices; for longer: all wait, and go on with it', () =>
    MetaNodes.run(2, async (c) => {
      const worker = await new Worker(c, 'a').start();
      await c.pass(1000);
      const active = () => c.nodes[0]!.node.server!.nodeStatus();
      expect(active().coordinatorAwayMs).toBe(0);
      c.coordinator.down = true;
      await c.pass(1200);
      const {coordinatorAwayMs: away, servesMs: serves} = active();
      expect([away > 800 && away < 1600, serves > 1000 && serves < 2000]).toEqual([true, true]);
      c.coordinator.down = false;
      await c.pass(1000);
      expect(active()).toMatchObject({coordinatorAwayMs: 0});
      expect(active().servesMs).toBeGreaterThan(2000);
      expect(worker.longest).toBeLessThan(300);
      expect(c.nodes[0]!.node.role).toBe('active');
      c.coordinator.down = true;
      await c.pass(TTL_MS + 500);
      expect(c.nodes.map(({node}) => node.role)).toEqual(['standby', 'standby']);
      for (const {node} of c.nodes)
        expect(node.status()).toMatchObject({
          why: expect.stringContaining('coordinator'),
          coordinatorAwayMs: expect.any(Number),
          servesMs: 0,
        });
      expect(c.nodes[0]!.node.status().coordinatorAwayMs).toBeGreaterThan(TTL_MS);
      const {length} = worker.made;
      await c.pass(4000);
      expect(worker.made.length).toBe(length);
      c.coordinator.down = false;
      await c.active();
      await c.pass(2000);
      expect(c.nodes.map(({node}) => node.status().coordinatorAwayMs)).toEqual([0, 0]);
      expect(worker.made.length).toBeGreaterThan(length);
      const made = (await worker.end()).sort();
      expect(await names(c, 'reader')).toEqual(made);
    }));

  test('the coordinator has another leader: the reign goes on, also when the former one revokes what it knows', () =>
    MetaNodes.run(2, async (c) => {
      const worker = await new Worker(c, 'a').start();
      await c.pass(1000);
      for (let round = 0; round < 3; round++) {
        c.coordinator.newLeader();
        await c.pass(500);
        c.coordinator.formerLeaderWakes();
        await c.pass(TTL_MS + 1000);
      }
      expect(worker.longest).toBeLessThan(300);
      expect(c.nodes[0]!.node.server!.nodeStatus().term).toBe(1);
      c.nodes[0]!.host.kill(false);
      await c.active(0);
      await c.nodes[0]!.start();
      await c.pass(1000);
      expect(worker.longest).toBeLessThan(5000);
      const made = (await worker.end()).sort();
      expect(await names(c, 'reader')).toEqual(made);
    }));

  test('a former leader of the coordinator revokes the lease of one that does not know: nobody else reigns while that may', () =>
    MetaNodes.run(2, async (c) => {
      const worker = await new Worker(c, 'a').start();
      await c.pass(1000);
      c.nodes[0]!.cut = true;
      c.coordinator.newLeader();
      c.coordinator.formerLeaderWakes();
      const serves = (): number => c.nodes[0]!.node.server?.nodeStatus().servesMs ?? 0;
      let [took, until] = [0, 0];
      for (; c.nodes[1]!.node.role !== 'active' && took < 10_000; took += 10) {
        if (serves() > 0) until = took;
        await c.pass(10);
      }
      expect([serves(), until > 0.8 * TTL_MS]).toEqual([0, true]);
      expect([took > 0.9 * TTL_MS, took < 2 * TTL_MS]).toEqual([true, true]);
      c.nodes[0]!.cut = false;
      await c.inSync(0);
      const made = (await worker.end()).sort();
      expect(await names(c, 'reader')).toEqual(made);
    }));

  test('the coordinator has lost its data: nobody begins another history, also after a restart, until an administrator says who goes on', () =>
    MetaNodes.run(2, async (c) => {
      const worker = await new Worker(c, 'a').start();
      await c.pass(1000);
      c.coordinator.wipe();
      await c.pass(5000);
      const {length} = worker.made;
      c.nodes[0]!.host.kill(false);
      await c.nodes[0]!.start(true);
      await c.pass(20_000);
      expect(c.nodes.map(({node}) => node.status())).toEqual([
        expect.objectContaining({role: 'standby', why: FORGOTTEN}),
        expect.objectContaining({role: 'standby', why: FORGOTTEN}),
      ]);
      expect(worker.made.length).toBe(length);
      const before = c.nodes[1]!.node.status().term;
      expect(await c.nodes[1]!.node.promote()).toBe('');
      await c.inSync(0);
      expect(c.nodes[1]!.node.server!.nodeStatus().term).toBeGreaterThan(before + 999);
      await c.pass(1000);
      const made = (await worker.end()).sort();
      expect(made.length).toBeGreaterThan(length);
      expect(await names(c, 'reader')).toEqual(made);
    }));

  test('the active one is told to stop in the middle of work: another one goes on at once, with everything, and the first need not copy it', () =>
    MetaNodes.run(2, async (c) => {
      const workers: Worker[] = [];
      for (let i = 0; i < 8; i++) workers.push(await new Worker(c, `w${i}`, 0.1).start());
      for (const at of [0, 1, 0]) {
        await c.pass(200);
        const {host, node} = c.nodes[at]!;
        const began = c.clock.now();
        await node.stop();
        expect(c.clock.now() - began).toBeLessThan(500);
        host.kill(false);
        expect(await c.active(at)).toBe(1 - at);
        await c.nodes[at]!.start();
        await c.inSync(at);
        expect(c.nodes[at]!.node.status().copies).toBe(0);
      }
      const made = (await Promise.all(workers.map((one) => one.end()))).flat().sort();
      expect(await names(c, 'reader')).toEqual(made);
      expect(Math.max(...workers.map(({longest}) => longest))).toBeLessThan(3000);
    }));

  test('promoted by hand while its earlier life still counts as the active one, it waits for that', () =>
    MetaNodes.run(2, async (c) => {
      for (const {host} of c.nodes) host.kill(false);
      const [first] = c.nodes;
      await first!.start();
      const began = c.clock.now();
      expect(await first!.node.promote()).toBe('');
      expect(c.clock.now() - began).toBeGreaterThan(500);
      expect(await c.active()).toBe(0);
    }));

  test('one that is not in sync never becomes active, however long nobody is', () =>
    MetaNodes.run(2, async (c) => {
      const worker = await new Worker(c, 'a').start();
      await c.pass(500);
      c.nodes[1]!.host.kill(false);
      await c.pass(2500);
      const {length} = worker.made;
      expect(length).toBeGreaterThan(200);
      c.nodes[0]!.host.kill(false);
      await c.nodes[1]!.start();
      await c.pass(20_000);
      expect(c.nodes[1]!.node.role).toBe('standby');
      await c.nodes[0]!.start();
      expect(await c.active()).toBe(0);
      await c.inSync(1);
      const made = (await worker.end()).sort();
      expect(await names(c, 'reader')).toEqual(made);
    }));

  test('all lose power: the one that was active goes on with what was synced', () =>
    MetaNodes.run(2, async (c) => {
      const env = c.land.machine('a').boot();
      const client = await openClient(env, {meta: c.addresses, name: 'a', writeback: false});
      for (let i = 0; i < 50; i++)
        await client.mkdir(ROOT_OID, Buffer.from(`synced${i}`), 0o755, CALLER);
      await client.syncAll();
      for (const {host} of c.nodes) host.kill(true);
      await c.nodes[1]!.start();
      await c.pass(10_000);
      expect(c.nodes[1]!.node.role).toBe('standby');
      await c.nodes[0]!.start();
      await c.active();
      await c.inSync(1);
      const found = await names(c, 'reader');
      expect(found.filter((one) => one.startsWith('synced'))).toHaveLength(50);
    }));

  test('a folder of another cluster is not made a standby of this one, and stays as it is', () =>
    MetaNodes.run(1, async (c) => {
      const stranger = new NodeFixture(c, 'm1');
      const env = stranger.host.boot();
      const {rootLayout, groupSize} = FORMAT;
      const options = {address: 'm1:7400', rootLayout, groupSize, onFailed: () => {}};
      const alone = new MetaServer(env, options);
      await alone.start();
      const {cluster} = alone;
      await alone.stop();
      await stranger.start();
      for (let waited = 0; c.failures.length === 0 && waited < 5000; waited += 100)
        await c.pass(100);
      expect(String(c.failures.splice(0)[0])).toContain(`this is cluster`);
      expect(stranger.node.status()).toMatchObject({cluster, copies: 0, whole: true});
      c.nodes.push(stranger);
    }));
});
