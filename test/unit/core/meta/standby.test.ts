// Goal: a standby has, before anybody hears of it, everything that the active meta server has done; and what is not of that history does not
// stay (issue 6, item 1; DESIGN.md 9). Method: a meta server, toy clients and standbys on simulated hosts, which are frozen and killed.
import {describe, expect, test} from '@jest/globals';
import type {Member} from '../../../../src/core/base/coordinator-keys.js';
import {KIB, MIB} from '../../../../src/core/base/units.js';
import type {Kv} from '../../../../src/core/env/kv.js';
import {inodeKey} from '../../../../src/core/meta/keys.js';
import {Ledger} from '../../../../src/core/meta/ledger.js';
import type {Reign} from '../../../../src/core/meta/reign.js';
import type {MetaServerOptions} from '../../../../src/core/meta/server.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {MetaCluster, type ToyClient} from '../../../support/meta-cluster.js';
import {play} from '../../../support/sim.js';
import {StandbyFixture} from '../../../support/standby.js';

interface Story {
  c: MetaCluster;
  a: ToyClient;
  /** What the in-sync set was changed to, by node. */
  sets: string[];
  standby(name: string): StandbyFixture;
}

function reign(sets: string[], more: Partial<Reign> = {}): Reign {
  return {
    term: 1,
    valid: true,
    self: {node: 'active', life: 'x'},
    set: {
      change: async (members: readonly Member[]) => {
        sets.push(members.map(({node}) => node).join(' '));
      },
    },
    onDeposed: (error) => {
      throw error;
    },
    ...more,
  };
}

async function run(
  story: (s: Story) => Promise<void>,
  options: Partial<MetaServerOptions> = {},
): Promise<void> {
  const sets: string[] = [];
  const c = new MetaCluster(1, {reign: reign(sets), ...options});
  await play(c.land, async () => {
    await c.boot();
    for (let i = 0; i < 5; i++) await c.addServer(`d${i}`);
    const a = await c.client('a');
    await story({c, a, sets, standby: (name) => new StandbyFixture(c, name)});
    if (c.failures.length > 0) throw c.failures[0];
  });
}

/** The state of the active one, as another standby copies it. */
async function stateOf(s: Story): Promise<string[]> {
  const witness = s.standby(`witness${s.c.land.scheduler.events}`);
  await witness.start();
  await witness.inSync();
  const {state} = witness;
  witness.kill(false);
  await s.c.pass(2000);
  return state;
}

/** The first difference tells enough. */
function same(one: readonly string[], other: readonly string[]): void {
  const at = one.findIndex((line, i) => line !== other[i]);
  expect([one[at], one.length]).toEqual([other[at], other.length]);
}

const create = async (a: ToyClient, prefix: string, count: number): Promise<void> => {
  await Promise.all(Array.from({length: count}, (_, i) => a.create(`${prefix}${i}`)));
};

describe('a standby', () => {
  test('copies what there is while it changes, follows, and has the same state', () =>
    run(async (s) => {
      const {a, sets} = s;
      await create(a, 'before', 300);
      const b = s.standby('b');
      await b.start();
      for (let i = 0; i < 20; i++) await create(a, `meanwhile${i}.`, 10);
      await b.inSync();
      await create(a, 'after', 50);
      expect(sets).toEqual(['active b']);
      same(b.state, await stateOf(s));
      expect(b.state.filter((line) => line.startsWith('d')).length).toBe(550);
      expect(b.standby.copies).toBe(1);
    }));

  test('is named in the set when it has everything that was answered, not before', () => {
    const lacked: number[] = [];
    let look = (): void => {};
    const set = {
      change: async () => look(),
    };
    return run(
      async (s) => {
        look = () => {
          const [b] = s.c.server.standbys;
          if (b !== undefined) lacked.push(s.c.server.nodeStatus().sequence - b.sequence);
        };
        const b = s.standby('b');
        await b.start();
        await b.inSync();
        b.kill(false);
        await s.c.pass(2000);
        for (let i = 0; i < 100; i++) await create(s.a, `${'x'.repeat(100)}${i}.`, 20);
        await b.start();
        await b.inSync();
        expect(lacked).toEqual([0, 0, 0]);
        expect(b.standby.copies).toBe(0);
      },
      {reign: reign([], {set})},
    );
  });

  test('has a change before its client has the answer', () =>
    run(async (s) => {
      const b = s.standby('b');
      await b.start();
      await b.inSync();
      for (let i = 0; i < 30; i++) {
        const {attr} = await s.a.create(`f${i}`);
        expect(b.state.some((line) => line.startsWith(inodeKey(attr.oid)))).toBe(true);
      }
    }));

  test('that does not answer is taken out of the set first, then clients are answered; it comes back', () =>
    run(async (s) => {
      const {c, a, sets} = s;
      const [b, d] = [s.standby('b'), s.standby('d')];
      for (const one of [b, d]) {
        await one.start();
        await one.inSync();
      }
      b.host.freeze();
      const began = c.clock.now();
      await a.create('f');
      expect(c.clock.now() - began).toBeGreaterThan(900);
      expect(c.clock.now() - began).toBeLessThan(2500);
      expect(sets.at(-1)).toBe('active d');
      const quick = c.clock.now();
      await a.create('g');
      expect(c.clock.now() - quick).toBeLessThan(200);
      b.host.thaw();
      await b.inSync();
      expect(['active b d', 'active d b']).toContain(sets.at(-1));
      same(b.state, d.state);
      expect(b.standby.copies).toBe(1);
    }));

  test('a query is not answered from what a standby lacks, either', () =>
    run(async (s) => {
      const {c, a} = s;
      const b = s.standby('b');
      await b.start();
      await b.inSync();
      const reader = await c.client('reader');
      b.host.freeze();
      const made = a.create('f');
      await c.pass(100);
      let seen = false;
      const looked = reader.call(OPS.lookup, {parent: 1, name: Buffer.from('f')}).then((reply) => {
        seen = true;
        return reply;
      });
      await c.pass(500);
      expect(seen).toBe(false);
      expect((await looked).attr?.oid).toBe((await made).attr.oid);
    }));

  test('whose set cannot be changed keeps everything unanswered', () => {
    let refuse = false;
    const deposed: unknown[] = [];
    return run(
      async (s) => {
        const b = s.standby('b');
        await b.start();
        await b.inSync();
        refuse = true;
        b.kill(false);
        let answered = false;
        void s.a.create('f').then(
          () => {
            answered = true;
          },
          () => {},
        );
        await s.c.pass(5000);
        expect(answered).toBe(false);
        expect(deposed).toHaveLength(1);
      },
      {
        reign: reign([], {
          set: {
            change: () => (refuse ? Promise.reject(new Error('another one')) : Promise.resolve()),
          },
          onDeposed: (error) => deposed.push(error),
        }),
      },
    );
  });

  test('killed, or without power, goes on from where it was, however much was done meanwhile', () =>
    run(async (s) => {
      const b = s.standby('b');
      await b.start();
      await b.inSync();
      for (const power of [false, true]) {
        await create(s.a, `before${power}`, 20);
        b.kill(power);
        await s.c.pass(3000);
        for (let i = 0; i < 40; i++) await create(s.a, `away${power}${i}.`, 50);
        await b.start();
        await b.inSync();
        same(b.state, await stateOf(s));
        expect(b.standby.copies).toBe(0);
      }
    }));

  test('cuts off what the active one lost with its power, and what it has stored already is copied anew', () =>
    run(async (s) => {
      const {c} = s;
      for (const stored of [false, true]) {
        const b = s.standby(`b${stored}`);
        await b.start();
        await b.inSync();
        const copies = b.standby.copies;
        const a = await c.client(`x${stored}`);
        await create(a, `lost${stored}`, 10);
        const {last} = b.ledger;
        // The checkpoint of the standby, but not of the active one.
        if (stored) await b.ledger.checkpointed();
        c.crash(true);
        await c.boot();
        expect(c.server.standbys).toEqual([]);
        for (const server of c.servers) await server.connect();
        const a2 = await c.client(`y${stored}`);
        await create(a2, `new${stored}`, 3);
        await b.inSync();
        expect(b.ledger.last).toBeLessThan(last + 20);
        expect(b.state.some((line) => line.includes(`lost${stored}`))).toBe(false);
        same(b.state, await stateOf(s));
        expect(b.standby.copies).toBe(copies + (stored ? 1 : 0));
        b.kill(false);
        await c.pass(2000);
      }
    }));

  test('whose state differs copies it anew', () =>
    run(async (s) => {
      const b = s.standby('b');
      await b.start();
      await b.inSync();
      b.ledger.store.put('xforeign', Uint8Array.of(1));
      await s.a.create('f');
      await s.c.pass(3000);
      await b.inSync();
      expect(b.standby.copies).toBe(2);
      same(b.state, await stateOf(s));
    }));

  test('killed in the middle of its copy begins it again, and nothing is started from it', () =>
    run(async (s) => {
      for (let i = 0; i < 30; i++) await create(s.a, `before${i}.`, 100);
      const b = s.standby('b');
      await b.start();
      while ([...b.kv.range('\0', 'e', 3)].length < 2) await s.c.pass(1);
      b.kill(false);
      await expect(Ledger.open(b.host.boot())).rejects.toThrow('not whole');
      b.kill(false);
      await b.start();
      await b.inSync();
      same(b.state, await stateOf(s));
    }));

  test('whose store does not keep up takes so much into memory, is gone on without, and comes back', () =>
    run(async (s) => {
      const {c, a, sets} = s;
      const b = s.standby('b');
      b.options = {overlayBytesMax: 2 * MIB};
      let held: (() => void)[] | null = null;
      const attach = b.host.kv.attach.bind(b.host.kv);
      b.host.kv.attach = (clock) => {
        const inner = attach(clock);
        const write: Kv['write'] = async (changes) => {
          if (held !== null) await new Promise<void>((resolve) => held!.push(resolve));
          return inner.write(changes);
        };
        return {...inner, write};
      };
      await b.start();
      await b.inSync();
      const {oid} = (await a.create('f')).attr;
      held = [];
      let most = 0;
      let longest = 0;
      const write = async (count: number): Promise<void> => {
        for (let i = 0; i < count; i++) {
          const began = c.clock.now();
          const value = Buffer.alloc(60 * KIB, `${i} `);
          await a.call(OPS.setxattr, {oid, name: Buffer.from('user.a'), value});
          longest = Math.max(longest, c.clock.now() - began);
          most = Math.max(most, b.standby.ledger?.store.overlayBytes ?? 0);
        }
      };
      await write(60);
      expect(sets).toEqual(['active b', 'active']);
      // It asks again all the time, and gets no further.
      await c.pass(20_000);
      await write(60);
      expect(most).toBeGreaterThan(2 * MIB);
      expect(most).toBeLessThan(3.5 * MIB);
      expect(longest).toBeLessThan(1000);
      const waiting = held;
      held = null;
      for (const go of waiting) go();
      await b.inSync();
      same(b.state, await stateOf(s));
    }));
});
