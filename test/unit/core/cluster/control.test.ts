import {describe, expect, test} from '@jest/globals';
import {ClusterControl} from '../../../../src/core/cluster/control.js';
import type {ClusterEffect} from '../../../../src/core/cluster/control-api.js';
import {GROUP, SLOT} from '../../../../src/core/cluster/map.js';
import {slotTransition, slotTransitions} from '../../../../src/core/cluster/slot-states.js';
import {
  type ClusterState,
  decodeState,
  encodeState,
  groupState,
} from '../../../../src/core/cluster/state.js';

const fresh = (): ClusterState => ({
  cluster: 'c',
  epoch: 1,
  groups: [],
  pool: [],
  fenced: [],
  retired: [],
});

/** A control whose servers obey at once, unless they are deaf. Time is its own. */
class World {
  now = 0;
  control: ClusterControl;
  deaf = new Set<string>();
  incarnations = new Map<string, number>();
  /** 1, if not here. */
  lives = new Map<string, number>();
  log: string[] = [];

  constructor(state: ClusterState = fresh(), kDefault = 4, columnsDefault = 5) {
    this.control = new ClusterControl(state, {
      groupSize: 5,
      kDefault,
      columnsDefault,
      anyDomain: false,
      now: 0,
      firstIncarnation: 0,
    });
    this.now = 5_000;
  }

  run(effects: readonly ClusterEffect[]): void {
    for (const e of effects) {
      if (e.do === 'log') this.log.push(`${e.event} ${e.group}.${e.slot}`);
      else if (e.do === 'publish') this.log.push(`publish ${e.epoch}`);
      else if (e.do === 'fenced') this.log.push(`fenced ${e.session}`);
      else if (e.do === 'drop') this.log.push(`drop ${e.uuid}`);
      else if (e.do === 'persist') {
        decodeState(encodeState(this.control.state), this.now);
        this.run(this.control.persisted(e.epoch, this.now));
      } else if (!this.deaf.has(e.uuid)) this.run(this.control.acked(e.uuid, e.epoch, this.now));
    }
  }

  register(uuid: string, incarnation = 0, askedAt = this.now, group = 1): string {
    const life = this.lives.get(uuid) ?? 1;
    const answer = this.control.register(
      {
        uuid,
        group,
        address: uuid,
        domain: uuid,
        location: '',
        auto: false,
        incarnation,
        life,
        askedAt,
      },
      this.now,
    );
    if (answer.is !== 'accepted') return answer.is;
    this.incarnations.set(uuid, answer.incarnation);
    this.run(answer.effects);
    return answer.is;
  }

  beat(uuid: string, doneResync = 0, recoveryLeft = 0, doubts = 0): number {
    const figures = {totalBytes: 10, freeBytes: 5, badBlocks: 0, recoveryLeft, doubts};
    const {resync, effects} = this.control.heartbeat(
      uuid,
      {epoch: 1, doneResync, ...figures},
      this.now,
    );
    this.run(effects);
    return resync;
  }

  closed(uuid: string): void {
    this.run(this.control.closed(uuid, this.incarnations.get(uuid) ?? -1, this.now));
  }

  /** Time passes in steps of 100 ms; those who live send heartbeats. */
  pass(ms: number, alive: readonly string[]): void {
    for (const end = this.now + ms; this.now < end; ) {
      this.now += 100;
      for (const uuid of alive) this.beat(uuid);
      this.run(this.control.tick(this.now));
    }
  }

  five(): this {
    for (const uuid of servers) expect(this.register(uuid)).toBe('accepted');
    return this;
  }

  /** e empty, R ready, a away, c recovering. */
  get states(): string {
    return this.control.state.groups[0]!.slots.map((s) => 'eRac'[s.state]).join('');
  }

  get stale(): string {
    return this.control.state.groups[0]!.slots.map((s) => (s.stale ? 's' : '-')).join('');
  }
}

const servers = ['a', 'b', 'c', 'd', 'e'];
const but = (...gone: string[]): string[] => servers.filter((uuid) => !gone.includes(uuid));

describe('slot transitions', () => {
  test('every pair has at most one row; what is not in the table is refused', () => {
    const pairs = slotTransitions.map(([from, on]) => `${from} ${on}`);
    expect(new Set(pairs).size).toBe(pairs.length);
    expect(slotTransition(SLOT.empty, 'lost')).toBeNull();
    expect(slotTransition(SLOT.ready, 'back')).toBeNull();
    expect(slotTransition(SLOT.away, 'back')?.[2]).toBe('recovering');
  });
});

describe('recovery', () => {
  test('what is left is counted in chunks, and in recovering slots until they have counted', () => {
    const w = new World().five();
    expect(w.control.recoveryLeft).toBe(0);
    w.closed('b');
    w.register('b');
    expect(w.states).toBe('RcRRR');
    expect(w.control.recoveryLeft).toBe(1);
    w.beat('b', 0, 70);
    expect(w.control.recoveryLeft).toBe(70);
    const {agreed, effects} = w.control.recovered('b', w.control.epoch, w.now);
    w.run(effects);
    expect(agreed).toBe(true);
    expect(w.control.recoveryLeft).toBe(0);
  });

  test('who may have been written without it must be there, unless others have noted all of it', () => {
    // 2+1: three of five lose it together, so that no chunk has all its other columns on the two.
    const lose = (w: World, ...gone: string[]): void => {
      for (const uuid of gone) w.closed(uuid);
      w.pass(1000, but(...gone));
    };
    const w = new World(fresh(), 2, 3).five();
    lose(w, 'a');
    lose(w, 'b', 'c');
    expect(w.states).toBe('aaaRR');
    w.register('a');
    expect(w.states).toBe('caaRR');
    const recovered = (): boolean => {
      const {agreed, effects} = w.control.recovered('a', w.control.epoch, w.now);
      w.run(effects);
      return agreed;
    };
    // A chunk in slots 0, 1 and 2 may have been written without a.
    expect(recovered()).toBe(false);
    w.register('b');
    expect(recovered()).toBe(false);
    w.register('c');
    // The recovery must have begun when c was there.
    expect(
      w.control.recovered('a', w.control.state.groups[0]!.slots[2]!.since - 1, w.now).agreed,
    ).toBe(false);
    expect(recovered()).toBe(true);
    const other = new World(fresh(), 2, 3).five();
    lose(other, 'a');
    lose(other, 'b');
    other.register('a');
    expect(other.states).toBe('caRRR');
    expect(other.control.recovered('a', other.control.epoch, other.now).agreed).toBe(true);
  });
});

describe('registration', () => {
  test('empty servers take slots in order of arrival; a sixth is refused (C4)', () => {
    const w = new World();
    expect(w.control.state.groups.length).toBe(0);
    w.register('a');
    expect(groupState(w.control.state.groups[0]!)).toBe(GROUP.creating);
    for (const uuid of but('a')) w.register(uuid);
    expect(w.states).toBe('RRRRR');
    expect(w.register('f')).toBe('refused');
    expect(w.control.publishedEpoch).toBe(w.control.epoch);
  });

  test('a copy of a live server is refused, a successor of a dead connection is not (C4)', () => {
    const w = new World().five();
    const askedAt = w.now;
    expect(w.register('b', 0, askedAt)).toBe('undecided');
    w.now += 900;
    w.beat('b');
    expect(w.register('b', 0, askedAt)).toBe('refused');
    // Now the old one is silent.
    const again = w.now;
    expect(w.register('b', 0, again)).toBe('undecided');
    w.now += 1_500;
    expect(w.register('b', 0, again)).toBe('accepted');
    expect(w.log).toContain('drop b');
    expect(w.states).toBe('RcRRR');
  });

  test('the same process comes back within the reconnect time: nothing happens', () => {
    const w = new World().five();
    const {epoch} = w.control;
    w.closed('c');
    w.pass(400, but('c'));
    expect(w.register('c', w.incarnations.get('c'))).toBe('accepted');
    w.pass(1_000, servers);
    expect(w.control.epoch).toBe(epoch);
    expect(w.states).toBe('RRRRR');
  });

  test('a restarted process was away for the survivors, even if it was quick', () => {
    const w = new World().five();
    w.closed('c');
    w.deaf.add('d');
    expect(w.register('c')).toBe('accepted');
    expect(w.states).toBe('RRaRR');
    w.deaf.delete('d');
    w.run(w.control.acked('d', w.control.epoch, w.now));
    // All survivors knew it as away; only then it came back.
    expect(w.states).toBe('RRcRR');
  });

  test('an empty server takes the slot of a lost one, which is then refused', () => {
    const w = new World().five();
    w.closed('e');
    expect(w.register('f')).toBe('undecided');
    w.pass(600, but('e'));
    expect(w.states).toBe('RRRRa');
    expect(w.register('f')).toBe('accepted');
    expect(w.states).toBe('RRRRc');
    expect(w.register('e')).toBe('refused');
  });

  test('a server that asks for another group than its own is refused', () => {
    const w = new World().five();
    w.closed('a');
    expect(w.register('a', 0, w.now, 2)).toBe('refused');
  });
});

describe('loss', () => {
  test('closed connection: away after 500 ms, survivors first, then clients', () => {
    const w = new World().five();
    w.closed('b');
    w.pass(400, but('b'));
    expect(w.states).toBe('RRRRR');
    w.deaf.add('d');
    const before = w.control.publishedEpoch;
    w.pass(200, but('b'));
    expect(w.states).toBe('RaRRR');
    expect(w.control.publishedEpoch).toBe(before);
    w.deaf.delete('d');
    w.run(w.control.acked('d', w.control.epoch, w.now));
    expect(w.control.publishedEpoch).toBe(w.control.epoch);
    expect(groupState(w.control.state.groups[0]!)).toBe(GROUP.degraded);
  });

  test('silence of 4 s; a survivor that does not acknowledge within 5 s is lost, too', () => {
    const w = new World().five();
    w.pass(3_900, but('b'));
    expect(w.states).toBe('RRRRR');
    w.deaf.add('c');
    w.pass(200, but('b'));
    expect(w.states).toBe('RaRRR');
    w.pass(5_000, but('b'));
    expect(w.states.slice(0, 2)).toBe('Ra');
    expect(w.log.filter((line) => line.startsWith('slot.lost'))).toEqual([
      'slot.lost 1.1',
      'slot.lost 1.2',
    ]);
  });

  test('reports: a silent server at once, a talking one after the column timeout', () => {
    const w = new World().five();
    w.pass(1_600, but('b'));
    w.run(w.control.report(1, 1, w.control.epoch, w.now));
    expect(w.states).toBe('RaRRR');
    for (let i = 0; i < 6; i++) {
      expect(w.states).toBe('RaRRR');
      w.run(w.control.report(1, 2, w.control.epoch, w.now));
      w.pass(1_000, but('b'));
    }
    w.run(w.control.report(1, 2, 1, w.now)); // Of an old epoch: about another life of the slot.
    expect(w.log.filter((line) => line.startsWith('slot.lost')).length).toBe(2);
  });

  test('reports: two calls that were late one after the other are one trouble', () => {
    const w = new World().five();
    const late = (waitedMs: number): void => {
      w.pass(5_500, but(''));
      w.run(w.control.report(1, 2, w.control.epoch, w.now, waitedMs));
    };
    late(0);
    late(0);
    expect(w.states).toBe('RRRRR');
    late(5_000);
    expect(w.states).toBe('RRaRR');
  });

  test('recovered: only for the life of the slot that it speaks of', () => {
    const w = new World().five();
    w.closed('b');
    w.pass(600, but('b'));
    const old = w.control.epoch;
    w.register('b');
    const slot = w.control.state.groups[0]!.slots[1]!;
    expect(slot.state).toBe(SLOT.recovering);
    expect(groupState(w.control.state.groups[0]!)).toBe(GROUP.recovering);
    expect(w.control.recovered('b', old, w.now).agreed).toBe(false);
    const answer = w.control.recovered('b', w.control.epoch, w.now);
    expect(answer.agreed).toBe(true);
    w.run(answer.effects);
    expect(w.stale).toBe('-----');
    expect(groupState(w.control.state.groups[0]!)).toBe(GROUP.ready);
  });
});

describe('stale', () => {
  test('five lost at once: those without whom nothing can be written come back whole, with a resync order', () => {
    const w = new World().five();
    for (const uuid of servers) w.closed(uuid);
    w.pass(600, []);
    expect(w.states).toBe('aaaaa');
    expect(w.stale).toBe('-----');
    expect(groupState(w.control.state.groups[0]!)).toBe(GROUP.failed);
    for (const uuid of servers) w.register(uuid);
    // The first four can be written before the fifth comes.
    expect(w.states).toBe('RRRRc');
    const order = w.control.state.groups[0]!.order;
    expect(order).toEqual({number: 4, slot: 0, done: false});
    expect(w.beat('a')).toBe(4);
    expect(w.beat('b')).toBe(0);
    expect(w.beat('a', 4)).toBe(0);
    expect(order.done).toBe(true);
  });

  test('the first one lost, whose epoch clients saw, is stale; the others are not', () => {
    const w = new World().five();
    w.closed('a');
    w.pass(600, but('a'));
    for (const uuid of but('a')) w.closed(uuid);
    w.pass(600, []);
    expect(w.stale).toBe('s----');
    // Before the last one is back, the first one makes up for it: what it does not lack could be written.
    for (const uuid of servers) w.register(uuid);
    expect(w.states).toBe('cRRRc');
  });

  test('who stays away while the others can write again becomes stale', () => {
    const w = new World().five();
    for (const uuid of servers) w.closed(uuid);
    w.pass(600, []);
    for (const uuid of but('e')) w.register(uuid);
    expect(w.states).toBe('RRRRa');
    expect(w.stale).toBe('----s');
  });

  test('one data column is enough for copies: the smallest k decides', () => {
    const w = new World().five();
    w.run(w.control.used([1], 1, 1, w.now));
    for (const uuid of but('e')) w.closed(uuid);
    w.pass(600, ['e']);
    expect(w.states).toBe('aaaaR');
    expect(w.stale).toBe('ssss-');
  });

  test('who is lost while another one recovers is stale: that one makes up for it', () => {
    const w = new World().five();
    w.closed('a');
    w.pass(600, but('a'));
    w.register('a');
    w.closed('b');
    w.pass(600, but('b'));
    expect(w.states).toBe('caRRR');
    expect(w.stale).toBe('ss---');
    w.register('b');
    expect(w.states).toBe('ccRRR');
  });

  test('a recovering slot that is lost stays stale', () => {
    const w = new World().five();
    w.closed('a');
    w.pass(600, but('a'));
    w.register('a');
    for (const uuid of servers) w.closed(uuid);
    w.pass(600, []);
    expect(w.stale).toBe('s----');
  });
});

describe('lives', () => {
  /** All are away, and none is stale; then these come in another life. */
  function lossy(...uuids: string[]): World {
    const w = new World().five();
    for (const uuid of servers) w.closed(uuid);
    w.pass(600, []);
    for (const uuid of uuids) {
      w.lives.set(uuid, 2);
      w.register(uuid);
    }
    return w;
  }
  const slots = (w: World) => w.control.state.groups[0]!.slots;

  test('who has lost what was unsynced is made from those that have not', () => {
    const w = lossy('a');
    expect(w.states).toBe('aaaaa');
    const made = slots(w).map(({madeAt}) => madeAt);
    for (const uuid of ['b', 'c', 'd']) w.register(uuid);
    expect(w.states).toBe('aRRRa');
    w.register('e');
    expect(w.states).toBe('cRRRR');
    // The others are what they were.
    expect(slots(w).map(({madeAt}) => madeAt)).toEqual(made);
    w.run(w.control.recovered('a', w.control.epoch, w.now).effects);
    expect(slots(w)[0]!.madeAt).toBe(w.control.epoch);
    // From now on it is measured by this life.
    for (const uuid of servers) w.closed(uuid);
    w.pass(600, []);
    w.register('a');
    expect(w.states).toBe('Raaaa');
  });

  test('it waits for 5 s, from its newest registration on', () => {
    const w = lossy('a');
    w.pass(4_000, ['a']);
    w.closed('a');
    w.register('a');
    w.pass(4_900, ['a']);
    expect(w.states).toBe('aaaaa');
    w.pass(200, ['a']);
    expect(w.states).toBe('Raaaa');
    // A resync may have fitted what these have to what it has.
    for (const uuid of ['b', 'c']) w.register(uuid);
    for (const {madeAt, since} of slots(w).slice(0, 3)) expect(madeAt).toBe(since);
  });

  test('it does not wait for fewer than could make it, nor for those that have lost something, too', () => {
    const w = lossy('a', 'b');
    expect(w.states).toBe('RRaaa');
    for (const uuid of ['c', 'd']) w.register(uuid);
    expect(w.states).toBe('RRRRa');
  });

  test('the life of a slot is known after a restart of the meta server', () => {
    const w = new World().five();
    const next = new World(decodeState(encodeState(w.control.state), 0));
    for (const uuid of servers) next.lives.set(uuid, uuid === 'a' ? 2 : 1);
    next.register('a');
    next.pass(5_000, ['a']);
    expect(next.states).toBe('aaaaa');
    for (const uuid of but('a')) next.register(uuid);
    expect(next.states).toBe('cRRRR');
  });

  test('slots that an older release has kept are taken as they come', () => {
    const w = new World().five();
    const saved = JSON.parse(Buffer.from(encodeState(w.control.state)).toString());
    for (const slot of saved.groups[0].slots) {
      delete slot.life;
      delete slot.madeAt;
    }
    const next = new World(decodeState(Buffer.from(JSON.stringify(saved)), 0));
    expect(slots(next).map(({madeAt}) => madeAt)).toEqual(slots(w).map(({wholeAt}) => wholeAt));
    // Its process goes on; from now on its life is known.
    next.register('b', 7);
    next.closed('b');
    next.lives.set('a', 2);
    next.register('a');
    next.pass(600, ['a']);
    expect(next.states).toBe('Raaaa');
    next.lives.set('b', 2);
    next.register('b');
    expect(next.states).toBe('Raaaa');
  });
});

describe('fences, restart', () => {
  test('a fence is reported when every serving data server has acknowledged it', () => {
    const w = new World().five();
    w.deaf.add('c');
    w.run(w.control.fence(7, w.now));
    expect(w.control.map.fenced).toEqual([7]);
    expect(w.log).not.toContain('fenced 7');
    w.pass(5_100, servers);
    expect(w.states[2]).toBe('a');
    expect(w.log).toContain('fenced 7');
  });

  test('the list of the fenced is bounded', () => {
    const w = new World().five();
    for (let i = 1; i <= 1_100; i++) w.run(w.control.fence(i, w.now));
    expect(w.control.map.fenced.length).toBe(1024);
    expect(w.control.map.fenced.at(-1)).toBe(1_100);
  });

  test('after a restart of the meta server slots keep their states for 5 s', () => {
    const w = new World().five();
    const bytes = encodeState(w.control.state);
    const next = new World(decodeState(bytes, 0));
    next.now = 100;
    for (const uuid of but('d')) next.register(uuid, w.incarnations.get(uuid));
    next.pass(4_700, but('d'));
    expect(next.states).toBe('RRRRR');
    next.pass(300, but('d'));
    expect(next.states).toBe('RRRaR');
    expect(next.control.publishedEpoch).toBe(next.control.epoch);
  });

  test('a resync order passes on when its server is lost', () => {
    const w = new World().five();
    w.run(w.control.resync(w.now));
    expect(w.beat('a')).toBe(1);
    w.closed('a');
    w.pass(600, but('a'));
    expect(w.beat('b')).toBe(1);
    w.run(w.control.resync(w.now));
    expect(w.beat('b', 1)).toBe(2);
    expect(w.beat('b', 2)).toBe(0);
  });

  test('what a server says is in doubt is checked when all slots are ready, and again if it stays', () => {
    const w = new World().five();
    w.closed('e');
    w.pass(600, but('e'));
    w.beat('b', 0, 0, 3);
    expect(w.beat('a')).toBe(0);
    expect(w.control.recoveryLeft).toBe(1);
    w.register('e');
    w.pass(300, servers);
    w.run(w.control.recovered('e', w.control.epoch, w.now).effects);
    w.pass(300, servers);
    expect(w.states).toBe('RRRRR');
    w.beat('b', 0, 0, 3);
    expect(w.beat('a')).toBe(1);
    expect(w.beat('a', 1)).toBe(0);
    // It was counted before the check, or some of it could not be checked.
    w.beat('b', 0, 0, 1);
    expect(w.beat('a', 1)).toBe(0);
    w.pass(5_000, servers);
    w.beat('b', 0, 0, 1);
    expect(w.beat('a', 1)).toBe(2);
    expect(w.beat('a', 2)).toBe(0);
    w.beat('b');
    expect(w.control.recoveryLeft).toBe(0);
  });
});
