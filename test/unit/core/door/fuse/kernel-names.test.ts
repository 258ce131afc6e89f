import {describe, expect, test} from '@jest/globals';
import {KernelNames} from '../../../../../src/core/door/fuse/kernel-names.js';
import type {Attr} from '../../../../../src/core/protocol/gen/wire.js';
import {ManualClock} from '../../../../support/manual-clock.js';

const DIRECTORY = 5;
const FILE = {oid: 9, mode: 0o100644} as Attr;

/** A kernel that has the inode when `has` says so; `asked`: how often it was told to forget the attributes. */
function kernel(has: (asked: number) => boolean) {
  const clock = new ManualClock();
  const told = {asked: 0, recalled: false};
  const names = new KernelNames(clock, {
    voidNames: () => Promise.resolve(),
    dropListing: () => Promise.resolve(),
    voidAttributes: () => Promise.resolve(has(++told.asked)),
  });
  const recall = (): void => {
    void names.recall(DIRECTORY).then(() => {
      told.recalled = true;
    });
  };
  return {clock, names, told, recall};
}

test('attributes of an inode that is about to be made are taken back when it is', async () => {
  const {clock, names, told, recall} = kernel((asked) => asked >= 4);
  names.keepAttributes(FILE, DIRECTORY, {ms: 8000, unborn: true, pid: 1, begun: 0});
  recall();
  await clock.advance(5);
  expect(told.recalled).toBe(false);
  await clock.advance(5);
  expect(told).toEqual({asked: 4, recalled: true});
});

test('an inode that the kernel has dropped is not waited for', async () => {
  const {clock, names, told, recall} = kernel(() => false);
  names.keepAttributes(FILE, DIRECTORY, {ms: 8000, unborn: true, pid: 1, begun: 0});
  recall();
  await clock.advance(3);
  names.forgotten(FILE.oid);
  await clock.advance(5);
  expect(told.recalled).toBe(true);
});

test('nor one that was asked about itself: the kernel had it then', async () => {
  const {clock, names, told, recall} = kernel(() => false);
  names.keepAttributes(FILE, DIRECTORY, {ms: 8000, unborn: false, pid: 1, begun: 0});
  recall();
  await clock.advance(1);
  expect(told).toEqual({asked: 1, recalled: true});
});

test('no inode is waited for longer than a second', async () => {
  const {clock, names, told, recall} = kernel(() => false);
  names.keepAttributes(FILE, DIRECTORY, {ms: 8000, unborn: true, pid: 1, begun: 0});
  recall();
  await clock.advance(900);
  expect(told.recalled).toBe(false);
  await clock.advance(150);
  expect(told.recalled).toBe(true);
});

describe('attributes of a directory that a slow thread may yet put into the cache', () => {
  const DIR = {oid: 7, mode: 0o040755} as Attr;
  const give = (names: KernelNames, pid: number): number =>
    names.keepAttributes(DIR, DIRECTORY, {ms: 8000, unborn: false, pid, begun: 9});

  test('are voided before a change in it is answered to another thread, once', async () => {
    const {names, told} = kernel(() => true);
    give(names, 1);
    expect(names.changed(1, DIR.oid)).toBeNull();
    expect(names.changed(2, 8)).toBeNull();
    await names.changed(2, 8, DIR.oid);
    expect(told.asked).toBe(1);
    expect(names.changed(2, DIR.oid)).toBeNull();
  });

  test('are there when the thread has asked for something else, or a long time has passed', async () => {
    const {clock, names, told} = kernel(() => true);
    give(names, 1);
    names.races.heard(1);
    expect(names.changed(2, DIR.oid)).toBeNull();
    give(names, 1);
    await clock.advance(11_000);
    names.keepAttributes({...DIR, oid: 8}, DIRECTORY, {ms: 8000, unborn: false, pid: 3, begun: 9});
    expect(names.changed(2, DIR.oid)).toBeNull();
    expect(told.asked).toBe(0);
  });

  test("of files are the kernel's own care", () => {
    const {names} = kernel(() => true);
    names.keepAttributes(FILE, DIRECTORY, {ms: 8000, unborn: false, pid: 1, begun: 0});
    expect(names.changed(2, FILE.oid)).toBeNull();
  });
});
