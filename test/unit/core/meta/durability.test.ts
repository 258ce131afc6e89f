// Goal: what an fsync was answered for is there afterwards, as the durability of the meta servers promises (docs/architecture.md, Several meta
// servers), and whoever may lack it does not take over. Method: whole meta servers and a client on simulated hosts, which lose their power in each mode.
import {describe, expect, test} from '@jest/globals';
import type {Durability} from '../../../../src/core/base/durability.js';
import {ROOT_OID} from '../../../../src/core/base/ids.js';
import {type OpenedClient, openClient} from '../../../../src/core/client/index.js';
import {MetaNodes} from '../../../support/meta-nodes.js';

const CALLER = {uid: 0, gid: 0, groups: []};
const STANDING = '/cpfs/test/standing';
const NEVER_MS = 20_000;
/** In memory alone for so long at most, with a sync. */
const BEHIND_MS = 1100;

/** Makes names, and fsyncs each; those whose fsync has returned, and when. */
class Syncer {
  readonly synced: {name: string; at: number}[] = [];
  longest = 0;
  readonly #c: MetaNodes;
  readonly #client: OpenedClient;
  #stop = false;
  readonly #done: Promise<void>;

  private constructor(c: MetaNodes, client: OpenedClient) {
    this.#c = c;
    this.#client = client;
    this.#done = this.#run();
  }

  static async start(c: MetaNodes): Promise<Syncer> {
    const env = c.land.machine('a').boot();
    const options = {meta: c.addresses, name: 'a', writeback: false};
    return new Syncer(c, await openClient(env, options));
  }

  async #run(): Promise<void> {
    const {clock} = this.#c;
    for (let i = 0; !this.#stop; i++) {
      const name = `n${i}`;
      const began = clock.now();
      await this.#client.mkdir(ROOT_OID, Buffer.from(name), 0o755, CALLER);
      await this.#client.fsync(ROOT_OID);
      this.longest = Math.max(this.longest, clock.now() - began);
      this.synced.push({name, at: clock.now()});
      await this.#c.pass(2);
    }
  }

  /** No more names; what is under way may never end. */
  stop(): void {
    this.#stop = true;
    this.#done.catch(() => {});
  }

  async end(): Promise<void> {
    this.#stop = true;
    await this.#done;
  }

  names(before = Number.POSITIVE_INFINITY): string[] {
    return this.synced.filter(({at}) => at < before).map(({name}) => name);
  }
}

/** Which of these the root does not have, as a new client sees it. */
async function missing(c: MetaNodes, wanted: readonly string[], name = 'reader') {
  const env = c.land.machine(name).boot();
  const client = await openClient(env, {meta: c.addresses, name});
  const found = new Set<string>();
  for (let after = 0; ; ) {
    const {entries} = await client.readdir(ROOT_OID, after, 1000, false);
    if (entries.length === 0) break;
    for (const entry of entries) found.add(Buffer.from(entry.name).toString());
    after = entries.at(-1)!.cookie;
  }
  await client.close(5000);
  return wanted.filter((one) => !found.has(one));
}

/** Syncs that the disk of a meta server makes from now on. */
function countSyncs(c: MetaNodes, index: number): () => number {
  let count = 0;
  c.nodes[index]!.host.disk.fault = (action) => {
    if (action === 'sync') count++;
    return null;
  };
  return () => count;
}

const neverActive = async (c: MetaNodes, index: number): Promise<void> => {
  for (let waited = 0; waited < NEVER_MS; waited += 100) {
    expect(c.nodes[index]!.node.role).toBe('standby');
    await c.pass(100);
  }
};

describe('an fsync with durability', () => {
  test.each([
    ['disk', 1],
    ['both', 1],
    ['memory', 0],
  ] as const)('%s takes %s syncs of the active server', (durability, each) =>
    MetaNodes.run(
      2,
      async (c) => {
        const syncs = countSyncs(c, 0);
        const a = await Syncer.start(c);
        await c.pass(3000);
        await a.end();
        const count = a.synced.length;
        expect(count).toBeGreaterThan(500);
        // Checkpoints, and what is synced behind.
        const others = syncs() - each * count;
        expect(others).toBeGreaterThanOrEqual(0);
        expect(others).toBeLessThan(20);
      },
      durability,
    ),
  );

  test.each(['memory', 'both'] as const)(
    '%s: the active server loses its power: another one goes on with all of it',
    (durability) =>
      MetaNodes.run(
        2,
        async (c) => {
          const a = await Syncer.start(c);
          for (const at of [0, 1, 0]) {
            await c.pass(1500);
            c.nodes[at]!.host.kill(true);
            expect(await c.active(at)).toBe(1 - at);
            await c.nodes[at]!.start();
            await c.inSync(at);
          }
          await a.end();
          expect(a.synced.length).toBeGreaterThan(300);
          expect(await missing(c, a.names())).toEqual([]);
        },
        durability,
      ),
  );

  test.each(['memory', 'both'] as const)(
    '%s: who has just been elected loses its power as well: it had synced what it was elected for',
    (durability) =>
      MetaNodes.run(
        2,
        async (c) => {
          const a = await Syncer.start(c);
          await c.pass(1500);
          c.nodes[0]!.host.kill(true);
          a.stop();
          const first = c.coordinator.entries.get(STANDING)!.revision;
          while (c.coordinator.entries.get(STANDING)!.revision === first) await c.pass(0.05);
          c.nodes[1]!.host.kill(true);
          await c.nodes[0]!.start();
          await c.nodes[1]!.start();
          expect(await c.active()).toBe(1);
          expect(await missing(c, a.names())).toEqual([]);
        },
        durability,
      ),
  );

  test('memory: who has lost its power does not go on while another one has it in memory, however long that is away', () =>
    MetaNodes.run(
      2,
      async (c) => {
        const a = await Syncer.start(c);
        await c.pass(1500);
        c.nodes[1]!.host.freeze();
        // As fast as what was answered last reaches nobody else.
        c.nodes[0]!.host.kill(true);
        a.stop();
        await c.pass(500);
        await c.nodes[0]!.start();
        await neverActive(c, 0);
        expect(c.nodes[0]!.node.status().why).toContain('waits for those who have in memory');
        c.nodes[1]!.host.thaw();
        expect(await c.active()).toBe(1);
        expect(await missing(c, a.names())).toEqual([]);
      },
      'memory',
    ));

  test('memory: all lose their power: when all are back the last active one goes on, with what was answered a second before', () =>
    MetaNodes.run(
      3,
      async (c) => {
        const a = await Syncer.start(c);
        await c.pass(3000);
        const cut = c.clock.now();
        for (const {host} of c.nodes) host.kill(true);
        a.stop();
        await c.nodes[0]!.start();
        await c.nodes[1]!.start();
        await neverActive(c, 0);
        expect(c.nodes[1]!.node.role).toBe('standby');
        await c.nodes[2]!.start();
        expect(await c.active()).toBe(0);
        const early = a.names(cut - BEHIND_MS);
        expect(early.length).toBeGreaterThan(300);
        expect(await missing(c, early)).toEqual([]);
        // Nothing was synced for what came after, and this is what such a cut costs.
        expect((await missing(c, a.names(), 'reader2')).length).toBeGreaterThan(50);
      },
      'memory',
    ));

  test('memory: of those that lost their power one never comes back: an administrator decides', () =>
    MetaNodes.run(
      2,
      async (c) => {
        const a = await Syncer.start(c);
        await c.pass(3000);
        const cut = c.clock.now();
        for (const {host} of c.nodes) host.kill(true);
        a.stop();
        await c.nodes[0]!.start();
        await neverActive(c, 0);
        expect(await c.nodes[0]!.node.promote()).toBe('');
        expect(await c.active()).toBe(0);
        expect(await missing(c, a.names(cut - BEHIND_MS))).toEqual([]);
      },
      'memory',
    ));

  test('memory, and no standby is left: it is the disk, at once and for what was answered before', () =>
    MetaNodes.run(
      2,
      async (c) => {
        const a = await Syncer.start(c);
        for (const power of [false, true]) {
          await c.pass(2000);
          expect(c.nodes[0]!.node.server!.nodeStatus()).toMatchObject({
            durability: 'memory',
            durabilityNow: 'memory',
          });
          c.nodes[1]!.host.kill(power);
          // The set names it until it has been missed for a second.
          const server = c.nodes[0]!.node.server!;
          while (server.nodeStatus().standbys.length > 0) await c.pass(1);
          expect(server.nodeStatus().durabilityNow).toBe('disk');
          if (power) await c.pass(500);
          c.nodes[0]!.host.kill(true);
          await c.pass(100);
          await c.nodes[0]!.start();
          expect(await c.active()).toBe(0);
          expect(await missing(c, a.names(), `reader${power}`)).toEqual([]);
          await c.nodes[1]!.start();
          await c.inSync(1);
        }
        await a.end();
        expect(await missing(c, a.names())).toEqual([]);
      },
      'memory',
    ));

  test('memory: the last standby is taken out of the set when what it had in memory is on the disk', () =>
    MetaNodes.run(
      2,
      async (c) => {
        const a = await Syncer.start(c);
        await c.pass(1500);
        await a.end();
        c.nodes[1]!.host.kill(false);
        const server = c.nodes[0]!.node.server!;
        while (server.nodeStatus().standbys.length > 0) await c.pass(0.5);
        c.nodes[0]!.host.kill(true);
        await c.nodes[0]!.start();
        expect(await c.active()).toBe(0);
        expect(await missing(c, a.names())).toEqual([]);
      },
      'memory',
    ));

  test('disk: nobody waits for a standby, and none takes over by itself', () =>
    MetaNodes.run(
      2,
      async (c) => {
        const a = await Syncer.start(c);
        await c.pass(500);
        c.nodes[1]!.host.freeze();
        await c.pass(2000);
        expect(a.longest).toBeLessThan(100);
        c.nodes[1]!.host.thaw();
        await c.pass(1000);
        expect(c.nodes[1]!.node.status()).toMatchObject({
          durability: 'disk',
          connected: true,
          inSync: false,
        });
        for (const power of [false, true]) {
          await c.pass(1000);
          c.nodes[0]!.host.kill(power);
          await neverActive(c, 1);
          expect(c.nodes[1]!.node.status().why).toContain('without waiting for it');
          await c.nodes[0]!.start();
          expect(await c.active()).toBe(0);
        }
        await a.end();
        expect(await missing(c, a.names())).toEqual([]);
      },
      'disk',
    ));

  test('disk: the active one is told to stop: another one takes over, with everything', () =>
    MetaNodes.run(
      3,
      async (c) => {
        const a = await Syncer.start(c);
        for (let round = 0; round < 3; round++) {
          await c.pass(1000);
          const at = await c.active();
          const {node, host} = c.nodes[at]!;
          await node.stop();
          host.kill(false);
          await c.active(at);
          await c.nodes[at]!.start();
          await c.follows(at);
          expect(node.status().copies).toBe(0);
        }
        await a.end();
        expect(await missing(c, a.names())).toEqual([]);
      },
      'disk' satisfies Durability,
    ));

  test('disk: a standby is promoted by hand, and what it lacks is lost; nothing else', () =>
    MetaNodes.run(
      2,
      async (c) => {
        const a = await Syncer.start(c);
        await c.pass(1000);
        const {sequence} = c.nodes[0]!.node.status();
        c.nodes[0]!.host.kill(true);
        a.stop();
        await c.pass(6000);
        expect(await c.nodes[1]!.node.promote()).toBe('');
        expect(await c.active()).toBe(1);
        expect(c.nodes[1]!.node.status().sequence).toBeGreaterThan(sequence - 10);
        expect((await missing(c, a.names())).length).toBeLessThan(5);
        await c.nodes[0]!.start();
        await c.follows(0);
      },
      'disk',
    ));
});
