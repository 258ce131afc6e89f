import {describe, expect, test} from '@jest/globals';
import {ChangeWatch} from '../../../../src/core/data/change-watch.js';

const id = (oid: number) => ({oid, chunk: 0, generation: 0});
const oids = (all: {oid: number}[] | null) => all?.map(({oid}) => oid) ?? null;

describe('what changes while a server is copied', () => {
  test('each pass tells what changed since the one before; asked again, the same', () => {
    const watch = new ChangeWatch();
    watch.note(id(1), []);
    expect(watch.pass('s', 1)).toEqual([]);
    watch.note(id(2), []);
    watch.note(id(3), []);
    watch.note(id(2), []);
    expect(oids(watch.pass('s', 2))).toEqual([2, 3]);
    watch.note(id(4), []);
    // The answer was lost.
    expect(oids(watch.pass('s', 2))).toEqual([2, 3]);
    expect(oids(watch.pass('s', 3))).toEqual([4]);
    expect(oids(watch.pass('s', 4))).toEqual([]);
  });

  test('whoever was not told everything begins anew: another one, after a restart, with a gap', () => {
    const watch = new ChangeWatch();
    expect(watch.pass('s', 2)).toBeNull();
    watch.pass('s', 1);
    watch.note(id(1), []);
    expect(watch.pass('t', 2)).toBeNull();
    expect(watch.pass('s', 3)).toBeNull();
    expect(oids(watch.pass('s', 2))).toEqual([1]);
    watch.pass('t', 1);
    expect(watch.pass('s', 3)).toBeNull();
    watch.stop();
    expect(watch.pass('t', 2)).toBeNull();
  });
});
