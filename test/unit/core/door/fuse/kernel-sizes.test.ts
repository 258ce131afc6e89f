import {describe, expect, test} from '@jest/globals';
import {KernelSizes} from '../../../../../src/core/door/fuse/kernel-sizes.js';
import {Lookups} from '../../../../../src/core/door/fuse/lookups.js';
import type {Attr} from '../../../../../src/core/protocol/gen/wire.js';
import {ManualClock} from '../../../../support/manual-clock.js';

// When the kernel goes by the end of an answer, and when by a size of before: the test is the kernel.

const FILE = 7;
const READER = 1;
const OTHER = 2;
const STATER = 3;
const PAGE = 4096;
const of = (size: number): Attr => ({oid: FILE, mode: 0o100644, size}) as Attr;

/** A kernel that was told long ago that the file has two pages; its queue, the notices that have begun, how often threads have run. */
async function knowing() {
  const clock = new ManualClock();
  const ran = new Map<number, number>();
  const now = {empty: true, begun: 0, ran};
  const kernel = {
    empty: () => now.empty,
    begun: () => now.begun,
    ran: (tid: number) => ran.get(tid) ?? null,
  };
  const sizes = new KernelSizes(clock, kernel);
  sizes.told(of(2 * PAGE), {pid: STATER, arrived: clock.now(), kept: true});
  await clock.advance(20);
  return {clock, sizes, now};
}

function waiting(wait: Promise<void> | null) {
  const state = {over: wait === null};
  void wait?.then(() => {
    state.over = true;
  });
  return state;
}

describe('a read of a page that is not there any more', () => {
  test('is told the end, if nothing came in between', async () => {
    const {sizes} = await knowing();
    const read = sizes.begin(FILE, READER);
    expect(sizes.end(read, PAGE, 2 * PAGE)).toBe(true);
  });

  test('is refused, if the kernel had a notice about the file meanwhile; asked again it is told', async () => {
    const {clock, sizes} = await knowing();
    const read = sizes.begin(FILE, READER);
    const noticed = sizes.noticing(FILE);
    await clock.advance(5);
    noticed.done();
    expect(sizes.end(read, PAGE, 2 * PAGE)).toBe(false);
    sizes.heard(READER, FILE);
    const again = sizes.begin(FILE, READER);
    expect(again.again).toBe(true);
    expect(sizes.end(again, PAGE, 2 * PAGE)).toBe(true);
  });

  test('is refused while a notice is on its way, and if it came just after one', async () => {
    const {clock, sizes} = await knowing();
    const noticed = sizes.noticing(FILE);
    expect(sizes.end(sizes.begin(FILE, READER), PAGE, 2 * PAGE)).toBe(false);
    noticed.done();
    sizes.heard(READER, 0);
    expect(sizes.end(sizes.begin(FILE, OTHER), PAGE, 2 * PAGE)).toBe(false);
    sizes.heard(OTHER, 0);
    await clock.advance(15);
    expect(sizes.end(sizes.begin(FILE, OTHER), PAGE, 2 * PAGE)).toBe(true);
  });

  test('is refused, if the kernel was told a longer size meanwhile, and not, if it was told this one', async () => {
    const {clock, sizes} = await knowing();
    const first = sizes.begin(FILE, READER);
    sizes.told(of(PAGE), {pid: STATER, arrived: clock.now(), kept: true});
    expect(sizes.end(first, PAGE, 2 * PAGE)).toBe(true);
    const second = sizes.begin(FILE, READER);
    sizes.told(of(2 * PAGE), {pid: STATER, arrived: clock.now(), kept: true});
    expect(sizes.end(second, PAGE, 2 * PAGE)).toBe(false);
  });

  test('is refused, if a write was answered meanwhile, but only while others may have cut the file', async () => {
    const {clock, sizes} = await knowing();
    const quiet = sizes.begin(FILE, READER);
    sizes.wrote(FILE, OTHER, PAGE);
    expect(sizes.end(quiet, 2 * PAGE, 3 * PAGE)).toBe(true);
    sizes.noticing(FILE).done();
    await clock.advance(5);
    expect(sizes.doubtful(FILE)).toBe(true);
    const read = sizes.begin(FILE, READER);
    sizes.wrote(FILE, OTHER, PAGE);
    sizes.heard(OTHER, 0);
    expect(sizes.end(read, PAGE, 2 * PAGE)).toBe(false);
  });

  test('keeps notices and writes from the file until it is asked again and has taken the answer', async () => {
    const {clock, sizes} = await knowing();
    const read = sizes.begin(FILE, READER);
    sizes.noticing(FILE).done();
    expect(sizes.readAgain(FILE)).toBeNull();
    sizes.end(read, PAGE, 2 * PAGE);
    const notice = waiting(sizes.readAgain(FILE));
    await clock.advance(10);
    expect(notice.over).toBe(false);
    const again = sizes.begin(FILE, READER);
    await clock.advance(10);
    sizes.end(again, PAGE, 2 * PAGE);
    await clock.advance(10);
    expect(notice.over).toBe(false);
    sizes.heard(READER, 0);
    await clock.advance(2);
    expect(notice.over).toBe(true);
  });

  test('keeps them for a bounded time', async () => {
    const {clock, sizes} = await knowing();
    const read = sizes.begin(FILE, READER);
    sizes.noticing(FILE).done();
    sizes.end(read, PAGE, 2 * PAGE);
    const notice = waiting(sizes.readAgain(FILE));
    await clock.advance(250);
    expect(notice.over).toBe(true);
  });
});

test('the page in which the file ends is never refused', async () => {
  const {clock, sizes} = await knowing();
  sizes.told(of(PAGE + 10), {pid: STATER, arrived: clock.now(), kept: true});
  const read = sizes.begin(FILE, READER);
  sizes.noticing(FILE).done();
  expect(sizes.end(read, PAGE + 10, 2 * PAGE)).toBe(true);
});

test('an older answer does not make the kernel believe less', async () => {
  const {clock, sizes} = await knowing();
  const arrived = clock.now();
  await clock.advance(5);
  sizes.noticing(FILE).done();
  sizes.told(of(PAGE), {pid: STATER, arrived: arrived, kept: true});
  await clock.advance(5);
  const read = sizes.begin(FILE, READER);
  sizes.noticing(FILE).done();
  expect(sizes.end(read, PAGE, 2 * PAGE)).toBe(false);
});

describe('on a machine that has no time for us', () => {
  test('what is taken late from the queue of requests may be from before a notice', async () => {
    const {clock, sizes, now} = await knowing();
    now.empty = false;
    sizes.noticing(FILE).done();
    await clock.advance(50);
    const late = sizes.begin(FILE, READER);
    expect(sizes.end(late, PAGE, 2 * PAGE)).toBe(false);
    sizes.heard(READER, 0);
    // Attributes that were asked for then make the kernel believe no less.
    sizes.told(of(PAGE), {pid: STATER, arrived: clock.now(), kept: false});
    expect(sizes.end(sizes.begin(FILE, OTHER), PAGE, 2 * PAGE)).toBe(false);
    sizes.heard(OTHER, 0);
    sizes.heard(STATER, 0);
    now.empty = true;
    await clock.advance(10);
    sizes.told(of(PAGE), {pid: STATER, arrived: clock.now(), kept: true});
    expect(sizes.end(sizes.begin(FILE, READER), PAGE, 2 * PAGE)).toBe(true);
  });

  test('a size that nobody would give notice of may yet be believed', async () => {
    const {clock, sizes, now} = await knowing();
    now.ran.set(STATER, 5);
    sizes.told(of(2 * PAGE), {pid: STATER, arrived: clock.now(), kept: false});
    await clock.advance(90);
    const read = sizes.begin(FILE, READER);
    const wait = waiting(sizes.passed(FILE, PAGE, 2 * PAGE));
    await clock.advance(50);
    expect(wait.over).toBe(false);
    now.ran.set(STATER, -1);
    await clock.advance(2);
    expect(wait.over).toBe(true);
    expect(sizes.end(read, PAGE, 2 * PAGE)).toBe(false);
  });

  test('a thread that has been answered is waited for until it has run', async () => {
    const {clock, sizes, now} = await knowing();
    sizes.noticing(FILE).done();
    now.ran.set(OTHER, 5);
    sizes.wrote(FILE, OTHER, PAGE);
    await clock.advance(90);
    const read = waiting(sizes.passed(FILE, PAGE, 2 * PAGE));
    await clock.advance(50);
    expect(read.over).toBe(false);
    now.ran.set(OTHER, 6);
    await clock.advance(2);
    expect(read.over).toBe(true);
  });

  test('but not for ever', async () => {
    const {clock, sizes, now} = await knowing();
    sizes.noticing(FILE).done();
    now.ran.set(OTHER, 5);
    sizes.wrote(FILE, OTHER, PAGE);
    await clock.advance(1100);
    expect(sizes.passed(FILE, PAGE, 2 * PAGE)).toBeNull();
  });

  test('nor does a notice leave before one that has been told the end has run', async () => {
    const {clock, sizes, now} = await knowing();
    now.ran.set(READER, 5);
    sizes.end(sizes.begin(FILE, READER), PAGE, 2 * PAGE);
    const notice = waiting(sizes.readAgain(FILE));
    await clock.advance(150);
    expect(notice.over).toBe(false);
    now.ran.set(READER, 6);
    await clock.advance(2);
    expect(notice.over).toBe(true);
  });

  test('a notice that the kernel had before it asked again has no say any more, though it is held up', async () => {
    const {clock, sizes, now} = await knowing();
    const first = sizes.begin(FILE, READER);
    const notice = sizes.noticing(FILE);
    notice.id = 3;
    const coming = waiting(sizes.passed(FILE, PAGE, 2 * PAGE));
    await clock.advance(20);
    expect(coming.over).toBe(false);
    now.begun = 3;
    await clock.advance(10);
    expect(coming.over).toBe(true);
    expect(sizes.end(first, PAGE, 2 * PAGE)).toBe(false);
    const again = sizes.begin(FILE, READER);
    expect(sizes.passed(FILE, PAGE, 2 * PAGE)).toBeNull();
    const more = sizes.begin(FILE, OTHER);
    expect(sizes.end(again, PAGE, 2 * PAGE)).toBe(true);
    notice.done();
    sizes.told(of(2 * PAGE), {pid: STATER, arrived: clock.now(), kept: false});
    expect(sizes.end(more, PAGE, 2 * PAGE)).toBe(false);
  });

  test('one that it had not is refused again', async () => {
    const {clock, sizes, now} = await knowing();
    const first = sizes.begin(FILE, READER);
    sizes.noticing(FILE).id = 3;
    expect(sizes.end(first, PAGE, 2 * PAGE)).toBe(false);
    const again = sizes.begin(FILE, READER);
    now.begun = 3;
    const wait = waiting(sizes.passed(FILE, PAGE, 2 * PAGE));
    await clock.advance(20);
    expect(wait.over).toBe(true);
    expect(sizes.end(again, PAGE, 2 * PAGE)).toBe(false);
  });
});

describe('a program of this mount cuts the file', () => {
  test('a short answer waits until it has asked for something else', async () => {
    const {clock, sizes} = await knowing();
    const passed = () => sizes.passed(FILE, PAGE, 2 * PAGE);
    expect(passed()).toBeNull();
    const answered = sizes.cutting(FILE, OTHER);
    expect(sizes.passed(FILE + 1, PAGE, 2 * PAGE)).toBeNull();
    expect(sizes.passed(FILE, 2 * PAGE, 2 * PAGE)).toBeNull();
    const read = waiting(passed());
    await clock.advance(10);
    expect(read.over).toBe(false);
    answered();
    await clock.advance(3);
    sizes.heard(READER, 0);
    await clock.advance(3);
    expect(read.over).toBe(false);
    sizes.heard(OTHER, 0);
    await clock.advance(2);
    expect(read.over).toBe(true);
    expect(passed()).toBeNull();
  });

  test('it waits for a bounded time, and is refused then', async () => {
    const {clock, sizes} = await knowing();
    sizes.cutting(FILE, OTHER);
    const read = sizes.begin(FILE, READER);
    const wait = waiting(sizes.passed(FILE, PAGE, 2 * PAGE));
    await clock.advance(320);
    expect(wait.over).toBe(true);
    expect(sizes.end(read, PAGE, 2 * PAGE)).toBe(false);
  });

  test('what the kernel was noticed of before does not count any more', async () => {
    const {clock, sizes} = await knowing();
    const read = sizes.begin(FILE, READER);
    sizes.noticing(FILE).done();
    sizes.cutting(FILE, OTHER)(PAGE);
    await clock.advance(30);
    expect(sizes.end(read, PAGE, 2 * PAGE)).toBe(true);
  });

  test('afterwards the kernel goes by the size that was set', async () => {
    const {clock, sizes} = await knowing();
    sizes.cutting(FILE, OTHER)(PAGE);
    await clock.advance(220);
    const read = sizes.begin(FILE, READER);
    sizes.noticing(FILE).done();
    expect(sizes.end(read, PAGE, 2 * PAGE)).toBe(true);
  });
});

test('an inode is dropped when everything that the kernel was told of it is given back', () => {
  const lookups = new Lookups();
  lookups.add(FILE);
  lookups.add(FILE);
  // Of the inode that it dropped; it was told of the next one before it said so.
  expect(lookups.forget(FILE, 1)).toBe(false);
  expect(lookups.size).toBe(1);
  expect(lookups.forget(FILE, 1)).toBe(true);
  expect(lookups.size).toBe(0);
});
