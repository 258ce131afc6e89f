import {expect, test} from '@jest/globals';
import {LazyMap, LazySet} from '../../../../src/core/base/lazy.js';
import {SeededRandom} from '../../../../src/core/sim/random.js';

// Goal: they are what the language's own are. Method: the same random steps with both.

test('a lazy set is a set', () => {
  const random = new SeededRandom(1);
  const lazy = new LazySet<number>();
  const real = new Set<number>();
  for (let i = 0; i < 2000; i++) {
    const value = random.below(4);
    const step = random.below(8);
    if (step < 3) {
      lazy.add(value);
      real.add(value);
    } else if (step < 7) expect(lazy.delete(value)).toBe(real.delete(value));
    else {
      lazy.clear();
      real.clear();
    }
    expect([...lazy]).toEqual([...real]);
    expect([lazy.size, lazy.has(value)]).toEqual([real.size, real.has(value)]);
  }
});

test('a lazy map is a map', () => {
  const random = new SeededRandom(2);
  const lazy = new LazyMap<number, number>();
  const real = new Map<number, number>();
  for (let i = 0; i < 2000; i++) {
    const key = random.below(4);
    const step = random.below(8);
    if (step < 3) {
      lazy.set(key, i);
      real.set(key, i);
    } else if (step < 7) expect(lazy.delete(key)).toBe(real.delete(key));
    else {
      lazy.clear();
      real.clear();
    }
    expect([...lazy]).toEqual([...real]);
    expect([...lazy.keys()]).toEqual([...real.keys()]);
    expect([lazy.size, lazy.has(key), lazy.get(key)]).toEqual([
      real.size,
      real.has(key),
      real.get(key),
    ]);
  }
});
