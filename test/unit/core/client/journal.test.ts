import {expect, test} from '@jest/globals';
import {type Entry, Journal} from '../../../../src/core/client/journal.js';

const ROOT = 1;

/** A file that was made in a directory. */
const made = (oid: number, directory: number): Entry => ({
  change: {code: 0, request: new Uint8Array(0), groups: []} as unknown as Entry['change'],
  touches: [oid, directory],
  makes: oid,
  removes: 0,
});

// Two programs share a client: what one of them is told, the other one has not heard.
test('whose names were lost is told of it, each for himself and once', () => {
  const journal = new Journal();
  journal.add(made(10, 5));
  journal.add(made(11, 6));
  expect(journal.lose()).toBe(2);
  expect([ROOT, 5, 5, 6, 10, 11, 11].map((oid) => journal.takeLost(oid))).toEqual([
    false,
    true,
    false,
    true,
    true,
    true,
    false,
  ]);
  journal.refused([12, 5]);
  expect(journal.takeLost()).toBe(true);
  expect(journal.takeLost(5)).toBe(false);
});

// World 955629: a client that came back before the answer did not claim a file that it had open, and it was removed.
test('what was sent is claimed after a reconnect, though nobody knows whether it came', () => {
  const journal = new Journal();
  journal.add(made(10, 5));
  journal.add({...made(11, 5), removes: 11});
  const states = () => [10, 11].map((oid) => [journal.unborn(oid), journal.unsent(oid)]);
  expect(states()).toEqual([
    [true, true],
    [true, true],
  ]);
  expect([...journal.removed()]).toEqual([]);
  journal.take(10, 1e6);
  expect(states()).toEqual([
    [true, false],
    [true, false],
  ]);
  expect([...journal.removed()]).toEqual([11]);
  journal.done();
  expect(states()).toEqual([
    [false, false],
    [false, false],
  ]);
});
