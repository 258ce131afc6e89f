import {describe, expect, test} from '@jest/globals';
import {KernelListings} from '../../../../../src/core/door/fuse/kernel-listings.js';
import {ManualClock, settled} from '../../../../support/manual-clock.js';

const DIR = 7;
const READER = 11;
const OTHER = 12;

/** A kernel that has dropped what it is told to at once, or when `let go` says so. */
function kernel({slow = false} = {}) {
  const clock = new ManualClock();
  const drops: number[] = [];
  const waiting: (() => void)[] = [];
  const listings = new KernelListings(clock, {
    dropListing(oid) {
      drops.push(oid);
      return slow ? new Promise<void>((told) => waiting.push(told)) : Promise.resolve();
    },
  });
  const letGo = async (): Promise<void> => {
    waiting.shift()?.();
    await settled();
  };
  return {clock, drops, listings, letGo};
}

/** A whole listing; the promise of its end. */
function list(listings: KernelListings, pid: number, leased = true): Promise<void> | null {
  listings.heard(pid);
  listings.answered(DIR, pid, leased);
  listings.heard(pid);
  return listings.ended(DIR, pid, leased);
}

test('a listing under a lease ends at once, and is dropped when the lease is given up', async () => {
  const {drops, listings} = kernel();
  expect(list(listings, READER)).toBeNull();
  expect(drops).toEqual([]);
  await listings.recall(DIR);
  expect(drops).toEqual([DIR]);
});

test('the recall waits for the drop', async () => {
  const {listings, letGo} = kernel({slow: true});
  list(listings, READER);
  let over = false;
  void listings.recall(DIR).then(() => {
    over = true;
  });
  await settled();
  expect(over).toBe(false);
  await letGo();
  expect(over).toBe(true);
});

test('of a directory that nobody listed nothing is dropped', async () => {
  const {drops, listings} = kernel();
  await listings.recall(DIR);
  list(listings, READER);
  await listings.recall(DIR + 1);
  expect(drops).toEqual([]);
});

test('without a lease a listing does not end before what came is dropped', async () => {
  const {drops, listings} = kernel();
  await list(listings, READER, false);
  expect(drops).toEqual([DIR]);
});

test('nor one that began without a lease and ends under one', async () => {
  const {drops, listings} = kernel();
  listings.answered(DIR, READER, false);
  listings.heard(READER);
  await listings.ended(DIR, READER, true);
  expect(drops).toEqual([DIR]);
});

describe('an answer that was on its way when the lease was given up', () => {
  test('is dropped before its thread ends', async () => {
    const {drops, listings} = kernel();
    listings.answered(DIR, READER, true);
    await listings.recall(DIR);
    // Of what is not complete the kernel reads nothing; and of what is half there after a drop it makes nothing any more.
    expect(drops).toEqual([]);
    listings.heard(READER);
    await listings.ended(DIR, READER, true);
    expect(drops).toEqual([DIR]);
  });

  test('is dropped before another thread ends, and again when its own has been heard of', async () => {
    const {drops, listings} = kernel();
    listings.answered(DIR, READER, true);
    await listings.recall(DIR);
    await list(listings, OTHER);
    expect(drops.length).toBe(1);
    listings.heard(READER);
    await list(listings, OTHER);
    expect(drops.length).toBe(2);
  });

  test('is dropped some milliseconds later, too, of a complete listing', async () => {
    const {clock, drops, listings} = kernel();
    list(listings, OTHER);
    listings.heard(OTHER);
    listings.answered(DIR, READER, true);
    await listings.recall(DIR);
    await clock.advance(4);
    expect(drops.length).toBe(1);
    await clock.advance(2);
    expect(drops.length).toBe(2);
    await clock.advance(60);
    expect(drops.length).toBe(3);
    expect(clock.timers).toBe(0);
  });

  test('is not dropped later when its thread has been heard of, and another answer is on its way to it', async () => {
    const {clock, drops, listings} = kernel();
    list(listings, OTHER);
    listings.answered(DIR, READER, true);
    await listings.recall(DIR);
    for (const pid of [OTHER, READER]) listings.heard(pid);
    listings.answered(DIR, READER, false);
    await clock.advance(100);
    expect(drops).toEqual([DIR]);
    await listings.ended(DIR, READER, false);
    expect(drops).toEqual([DIR, DIR]);
  });

  test('of a thread of another namespace is waited for in the same way', async () => {
    const {clock, drops, listings} = kernel();
    listings.answered(DIR, 0, true);
    await listings.recall(DIR);
    await clock.advance(100);
    const before = drops.length;
    listings.heard(0);
    await list(listings, OTHER);
    expect(drops.length).toBe(before + 1);
  });
});

test('a thread that has asked for something else before the recall is not waited for', async () => {
  const {clock, drops, listings} = kernel();
  list(listings, READER);
  listings.heard(READER);
  await listings.recall(DIR);
  await clock.advance(100);
  expect(drops).toEqual([DIR]);
  expect(list(listings, READER)).toBeNull();
});

test('after ten seconds a thread is taken to have seen its answer, which then is in the pages', async () => {
  const {clock, drops, listings} = kernel();
  listings.answered(DIR, READER, true);
  await listings.recall(DIR);
  await clock.advance(10_001);
  const before = drops.length;
  await list(listings, OTHER);
  expect(drops.length).toBe(before + 1);
  listings.heard(OTHER);
  expect(list(listings, OTHER)).toBeNull();
});

test('a directory is known again whose last reader is forgotten with the next answer', async () => {
  const {clock, drops, listings} = kernel();
  list(listings, READER);
  await listings.recall(DIR);
  await clock.advance(10_001);
  await list(listings, OTHER);
  const before = drops.length;
  expect(listings.size).toBe(1);
  await listings.recall(DIR);
  expect(drops.length).toBe(before + 1);
});

test('an end waits for the drop that another one waits for', async () => {
  const {listings, letGo} = kernel({slow: true});
  let over = false;
  void list(listings, READER, false)!.then(() => {
    over = true;
  });
  await settled();
  // What is answered now may be in the pages when that drop is over.
  void list(listings, OTHER, false);
  await letGo();
  expect(over).toBe(false);
  await letGo();
  expect(over).toBe(true);
});

test('all leases gone: all listings are dropped', async () => {
  const {drops, listings} = kernel();
  list(listings, READER);
  listings.answered(DIR + 1, OTHER, true);
  listings.ended(DIR + 1, OTHER, true);
  await listings.recallAll();
  expect(drops.toSorted()).toEqual([DIR, DIR + 1]);
});

describe('nothing is left', () => {
  test('of a listing whose thread went on to something else', async () => {
    const {listings} = kernel();
    list(listings, READER);
    expect(listings.size).toBe(1);
    listings.heard(READER);
    await listings.recall(DIR);
    expect(listings.size).toBe(0);
  });

  test('of a directory that the kernel forgot, also when its listing was broken off', async () => {
    const {clock, listings} = kernel();
    listings.answered(DIR, READER, true);
    await listings.recall(DIR);
    listings.heard(READER);
    await clock.advance(100);
    listings.forgotten(DIR);
    await clock.advance(100);
    expect(listings.size).toBe(0);
    expect(clock.timers).toBe(0);
  });
});
