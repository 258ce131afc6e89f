import {expect, test} from '@jest/globals';
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
  names.keepAttributes(FILE, DIRECTORY, 8000, true);
  recall();
  await clock.advance(5);
  expect(told.recalled).toBe(false);
  await clock.advance(5);
  expect(told).toEqual({asked: 4, recalled: true});
});

test('an inode that the kernel has dropped is not waited for', async () => {
  const {clock, names, told, recall} = kernel(() => false);
  names.keepAttributes(FILE, DIRECTORY, 8000, true);
  recall();
  await clock.advance(3);
  names.forgotten(FILE.oid);
  await clock.advance(5);
  expect(told.recalled).toBe(true);
});

test('nor one that was asked about itself: the kernel had it then', async () => {
  const {clock, names, told, recall} = kernel(() => false);
  names.keepAttributes(FILE, DIRECTORY, 8000, false);
  recall();
  await clock.advance(1);
  expect(told).toEqual({asked: 1, recalled: true});
});

test('no inode is waited for longer than a second', async () => {
  const {clock, names, told, recall} = kernel(() => false);
  names.keepAttributes(FILE, DIRECTORY, 8000, true);
  recall();
  await clock.advance(900);
  expect(told.recalled).toBe(false);
  await clock.advance(150);
  expect(told.recalled).toBe(true);
});
