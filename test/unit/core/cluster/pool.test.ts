import {describe, expect, test} from '@jest/globals';
import {groupTransitions} from '../../../../src/core/cluster/group-states.js';
import {ControlWorld, OUT_AFTER} from '../../../support/control-world.js';

const five = ['a', 'b', 'c', 'd', 'e'];

describe('spares', () => {
  test('one takes the slot of a server that stays away; who comes back before keeps it', () => {
    const w = new ControlWorld().group(...five);
    expect(w.start('s', 0)).toBe('accepted');
    expect(w.waiting).toEqual(['s']);
    w.stop('b');
    w.pass(OUT_AFTER - 1000);
    expect(w.seats()).toBe('a b! c d e');
    w.start('b', 1);
    w.pass(1000);
    expect(w.seats()).toBe('a b* c d e');
    expect(w.recovered('b')).toBe(true);
    w.stop('b');
    w.pass(OUT_AFTER + 2000);
    expect(w.seats()).toBe('a s* c d e');
    expect(w.waiting).toEqual([]);
    expect(w.start('b', 1)).toMatch(/refused: its slot was given/);
    expect(w.recovered('s')).toBe(true);
    expect(w.seats()).toBe('a s c d e');
  });

  test('none gives up a server whose data the others do not make up', () => {
    const w = new ControlWorld().group(...five);
    w.start('s', 0);
    w.stop('a');
    w.stop('b');
    w.pass(3 * OUT_AFTER);
    expect(w.seats()).toBe('a! b! c d e');
    expect(() => w.replace(1, 0, '', false)).toThrow(/would be lost/);
    w.replace(1, 0, '', true);
    expect(w.seats()).toBe('s* b! c d e');
  });

  test('two of 4+2 do, one after the other; none where some objects have no redundancy', () => {
    const w = new ControlWorld({k: 4, m: 2}).group(...five, 'f');
    w.start('s', 0);
    w.start('t', 0);
    w.stop('a');
    w.stop('b');
    w.pass(OUT_AFTER + 2000);
    expect(w.seats()).toBe('s* t* c d e f');
    const plain = new ControlWorld().group(...five);
    plain.run(plain.control.used([1], 4, 0, plain.now));
    plain.start('s', 0);
    plain.stop('a');
    plain.pass(3 * OUT_AFTER);
    expect(plain.seats()).toBe('a! b c d e');
  });

  test('what is needed is known after a restart of the meta server, and the time begins anew', () => {
    const w = new ControlWorld().group(...five);
    w.stop('a');
    w.pass(OUT_AFTER - 1000);
    w.restart();
    for (const uuid of w.alive) w.start(uuid, 1);
    w.start('s', 0);
    w.pass(OUT_AFTER - 1000);
    for (const uuid of w.alive) w.recovered(uuid);
    expect(w.seats()).toBe('a! b c d e');
    w.pass(3000);
    expect(w.seats()).toBe('s* b c d e');
  });

  test('a spare that has gone is forgotten, and may come again', () => {
    const w = new ControlWorld().group(...five);
    w.start('s', 0);
    w.stop('s');
    w.pass(1000);
    expect(w.waiting).toEqual([]);
    w.stop('a');
    w.pass(OUT_AFTER + 2000);
    expect(() => w.replace(1, 0, '', false)).toThrow(/no server waits/);
    expect(w.seats()).toBe('a! b c d e');
    w.start('s', 0);
    w.pass(1000);
    expect(w.seats()).toBe('s* b c d e');
  });

  test('a spare that is started again with a group gets a slot there as any other', () => {
    const w = new ControlWorld().group('a', 'b');
    w.start('s', 0);
    expect(w.start('s', 1)).toMatch(/undecided/);
    w.stop('s');
    expect(w.start('s', 1)).toBe('accepted');
    expect(w.seats()).toBe('a b s - -');
    expect(w.waiting).toEqual([]);
  });
});

describe('draining', () => {
  const copied = (w: ControlWorld, uuid: string, of: string): boolean => {
    const {agreed, effects} = w.control.copied(uuid, of, w.now);
    w.run(effects);
    return agreed;
  };
  const copies = (w: ControlWorld, uuid: string): string | undefined => {
    const figures = {totalBytes: 10, freeBytes: 5, badBlocks: 0, recoveryLeft: 0, doubts: 0};
    const beat = {epoch: 1, doneResync: 9, ...figures};
    return w.control.heartbeat(uuid, beat, w.now).copy?.uuid;
  };

  test('the slot goes over when everything is copied, and never to and fro', () => {
    const w = new ControlWorld().group(...five);
    expect(() => w.admin((seating) => seating.drain(1, 0, ''))).toThrow(/no server waits/);
    w.start('s', 0);
    w.start('t', 0);
    expect(copies(w, 's')).toBeUndefined();
    w.admin((seating) => seating.drain(1, 0, 't'));
    expect(() => w.admin((seating) => seating.drain(1, 0, ''))).toThrow(/already/);
    // Whoever copies one server is not given another's slot, and copies none besides.
    expect(() => w.admin((seating) => seating.drain(1, 1, 't'))).toThrow(/server t is away, or/);
    expect([copies(w, 's'), copies(w, 't')]).toEqual([undefined, 'a']);
    expect(w.seats()).toBe('a b c d e');
    expect(copied(w, 's', 'a')).toBe(false);
    expect(copied(w, 't', 'b')).toBe(false);
    expect(copied(w, 't', 'a')).toBe(true);
    expect(w.seats()).toBe('t* b c d e');
    expect(w.start('a', 1)).toMatch(/its slot was given/);
    expect(copies(w, 't')).toBeUndefined();
    expect(w.recovered('t')).toBe(true);
    expect(w.waiting).toEqual(['s']);
  });

  test('not while another server of the group is away; it goes on when that is back', () => {
    const w = new ControlWorld().group(...five);
    w.start('s', 0);
    w.admin((seating) => seating.drain(1, 0, ''));
    w.stop('b');
    w.pass(1000);
    expect(copied(w, 's', 'a')).toBe(false);
    w.start('b', 1);
    w.pass(500);
    expect(copied(w, 's', 'a')).toBe(false);
    w.recovered('b');
    expect(copied(w, 's', 'a')).toBe(true);
  });

  test('one that dies before its slot is taken makes way as any other; a restart of the meta server forgets nothing', () => {
    const w = new ControlWorld().group(...five);
    w.start('s', 0);
    w.start('t', 0);
    w.admin((seating) => seating.drain(1, 0, 't'));
    w.restart();
    for (const uuid of five) w.start(uuid, 1);
    w.start('s', 0);
    w.start('t', 0);
    w.pass(500);
    for (const uuid of five) w.recovered(uuid);
    expect(copies(w, 't')).toBe('a');
    w.stop('a');
    w.pass(OUT_AFTER + 2000);
    expect(w.seats()).toBe('t* b c d e');
    expect(w.control.state.groups[0]!.slots[0]!.successor).toBe('');
  });

  test('it can be taken back; whoever was to take over waits again', () => {
    const w = new ControlWorld().group(...five);
    w.start('s', 0);
    expect(() => w.admin((seating) => seating.undrain(1, 0))).toThrow(/not being drained/);
    w.admin((seating) => seating.drain(1, 0, ''));
    w.admin((seating) => seating.undrain(1, 0));
    expect(copied(w, 's', 'a')).toBe(false);
    w.admin((seating) => seating.drain(1, 3, ''));
    expect(copies(w, 's')).toBe('d');
  });

  test('if the successor goes in the very moment, the server comes back to its slot', () => {
    const w = new ControlWorld().group(...five);
    w.start('s', 0);
    w.admin((seating) => seating.drain(1, 0, ''));
    w.deaf.add('b');
    expect(copied(w, 's', 'a')).toBe(true);
    expect(w.seats()).toBe('a! b c d e');
    expect(w.start('a', 1)).toMatch(/undecided: its slot is being given/);
    w.stop('s');
    w.pass(1000);
    w.deaf.clear();
    w.hear('b');
    expect(w.start('a', 1)).toBe('accepted');
    w.pass(500);
    expect(w.seats()).toBe('a* b c d e');
  });
});

describe('replacing by hand', () => {
  test('errors say why', () => {
    const w = new ControlWorld().group(...five);
    expect(() => w.replace(1, 9, '', false)).toThrow(/no server in slot 1.9/);
    expect(() => w.replace(1, 0, '', false)).toThrow(/in service/);
    w.stop('a');
    w.pass(1000);
    expect(() => w.replace(1, 0, '', false)).toThrow(/no server waits/);
    w.start('s', 0, {domain: 'b'});
    expect(() => w.replace(1, 0, '', false)).toThrow(/failure domains/);
    w.start('t', 0);
    expect(() => w.replace(1, 0, 'x', false)).toThrow(/no server x waits/);
    w.replace(1, 0, 't', false);
    expect(w.seats()).toBe('t* b c d e');
  });
});

describe('failure domains', () => {
  test('two servers of one group are not of one domain (#44, #51, 6.4 point 8)', () => {
    const w = new ControlWorld();
    expect(w.start('a', 1, {domain: 'host1'})).toBe('accepted');
    expect(w.start('b', 1, {domain: 'host1'})).toMatch(/refused: .*'host1' already \(a\)/);
    expect(w.start('b', 2, {domain: 'host1'})).toBe('accepted');
    const any = new ControlWorld({anyDomain: true});
    expect(any.start('a', 1, {domain: 'host1'})).toBe('accepted');
    expect(any.start('b', 1, {domain: 'host1'})).toBe('accepted');
  });

  test('no spare takes a slot beside another one of its domain', () => {
    const w = new ControlWorld().group(...five);
    w.start('s', 0, {domain: 'c'});
    w.stop('a');
    w.pass(3 * OUT_AFTER);
    expect(w.seats()).toBe('a! b c d e');
    // In the place of the one of its own domain it may.
    w.start('a', 1);
    w.pass(500);
    w.recovered('a');
    w.stop('c');
    w.pass(OUT_AFTER + 2000);
    expect(w.seats()).toBe('a b s* d e');
  });
});

describe('servers without a group', () => {
  test('fill a group that was made for them, and found one when they are enough; spares do not', () => {
    const w = new ControlWorld({k: 1, m: 1});
    w.start('s', 0);
    w.start('t', 0);
    w.pass(1000);
    expect(w.control.state.groups).toEqual([]);
    w.start('a', 0, {auto: true});
    w.pass(1000);
    expect(w.control.state.groups).toEqual([]);
    w.start('b', 0, {auto: true});
    w.pass(1000);
    expect(w.seats()).toBe('a b');
    expect(w.admin((seating) => seating.createGroup(7, 3))).toBe(7);
    for (const uuid of ['c', 'd', 'e', 'f']) w.start(uuid, 0, {auto: true});
    w.pass(2000);
    expect(w.seats(7)).toBe('c d e');
    expect(w.waiting).toEqual(['s', 't', 'f']);
    expect(() => w.admin((seating) => seating.createGroup(7, 0))).toThrow(/there already/);
    expect(() => w.admin((seating) => seating.createGroup(0, 1))).toThrow(/from 2 to 255/);
    expect(() => w.admin((seating) => seating.removeGroup(7))).toThrow(/may hold objects/);
    const id = w.admin((seating) => seating.createGroup(0, 0));
    expect(id).toBe(2);
    w.admin((seating) => seating.removeGroup(2));
    expect(w.control.state.groups.map((group) => group.id)).toEqual([1, 7]);
  });

  test('of one domain are not founders together', () => {
    const w = new ControlWorld({k: 1, m: 1});
    w.start('a', 0, {auto: true, domain: 'h'});
    w.start('b', 0, {auto: true, domain: 'h'});
    w.pass(2000);
    expect(w.control.state.groups).toEqual([]);
    w.start('c', 0, {auto: true});
    w.pass(2000);
    expect(w.seats()).toBe('a c');
  });
});

describe('states of the group (F11)', () => {
  const loses = (w: ControlWorld, ...gone: string[]): void => {
    for (const uuid of gone) w.stop(uuid);
    w.pass(1000);
  };
  /** All of them in one epoch. */
  const back = (w: ControlWorld, ...uuids: string[]): void => {
    w.deaf.add('e');
    w.run(w.control.fence(w.now, w.now));
    for (const uuid of uuids) w.start(uuid, 1);
    w.deaf.clear();
    w.hear('e');
  };
  const four = (): ControlWorld => new ControlWorld().group('a', 'b', 'c', 'd');
  const drained = (): ControlWorld => {
    const w = new ControlWorld().group(...five);
    w.start('s', 0);
    w.admin((seating) => seating.drain(1, 0, 's'));
    return w;
  };

  const stories: Record<string, () => ControlWorld> = {
    'one is lost, recovers, and is lost again with another one': () => {
      const w = new ControlWorld().group(...five);
      loses(w, 'b');
      w.start('b', 1);
      loses(w, 'b');
      w.start('b', 1);
      loses(w, 'a', 'b');
      back(w, 'a', 'b');
      w.recovered('b');
      w.recovered('a');
      return w;
    },
    'two are lost at once, and come back at once': () => {
      const w = new ControlWorld().group(...five);
      loses(w, 'a', 'b');
      back(w, 'a', 'b');
      return w;
    },
    'two are lost at once, and come back one after the other': () => {
      const w = new ControlWorld().group(...five);
      loses(w, 'a', 'b');
      w.start('a', 1);
      loses(w, 'c');
      w.start('b', 1);
      w.start('c', 1);
      return w;
    },
    'the last slot is filled while one is away': () => {
      const w = four();
      loses(w, 'a');
      return w.group('e');
    },
    'the last slot is filled while two are away': () => {
      const w = four();
      loses(w, 'a', 'b');
      return w.group('e');
    },
    'the last slot is filled while one that replaced another one recovers': () => {
      const w = four();
      loses(w, 'a');
      w.start('s', 0);
      w.replace(1, 0, 's', true);
      return w.group('e');
    },
    'the last slot is filled while one is drained': () => {
      const w = four();
      w.start('s', 0);
      w.admin((seating) => seating.drain(1, 0, 's'));
      return w.group('e');
    },
    'one that is drained is kept': () => {
      const w = drained();
      w.admin((seating) => seating.undrain(1, 0));
      return w;
    },
    'one is lost and recovers while another one is drained': () => {
      const w = drained();
      loses(w, 'b');
      w.start('b', 1);
      w.recovered('b');
      return w;
    },
    'two are lost at once while another one is drained': () => {
      const w = drained();
      loses(w, 'b', 'c');
      back(w, 'b', 'c');
      return w;
    },
  };

  test('every transition of the table is taken, and is told once', () => {
    const took = new Set(Object.values(stories).flatMap((story) => story().took));
    const rows = groupTransitions.map(([from, to]) => `${from} ${to}`);
    expect([...took].sort()).toEqual(rows.sort());
    expect(new Set(rows).size).toBe(rows.length);
  });
});
