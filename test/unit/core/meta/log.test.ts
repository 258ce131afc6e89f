import {describe, expect, test} from '@jest/globals';
import {BatchLog} from '../../../../src/core/meta/log.js';
import {CALM_MACHINE, SimLand, type SimMachine} from '../../../../src/core/sim/machine.js';
import {defer, play} from '../../../support/sim.js';

const OPTIONS = {segmentBytes: 100, segmentsKept: 1};

/** Runs a story on a host without payload. */
function onHost(story: (host: SimMachine, pass: () => Promise<void>) => Promise<void>) {
  const land = new SimLand(1, defer);
  const pool = {small: 1, medium: 0, large: 0};
  const pass = (): Promise<void> =>
    new Promise((resolve) => {
      land.scheduler.schedule(null, 5, 'pass', resolve);
    });
  return play(land, () => story(land.machine('m', {...CALM_MACHINE, pool}), pass));
}

async function open(host: SimMachine, position: number) {
  const records: [number, number][] = [];
  const log = await BatchLog.open(
    host.boot(),
    OPTIONS,
    {sequence: position, sum: 0},
    ({sequence, bytes}) => {
      records.push([sequence, bytes[0]!]);
    },
  );
  return {log, records};
}

/** Batches first..last of 20 bytes, with time for new segments. */
async function append(log: BatchLog, first: number, last: number, pass: () => Promise<void>) {
  for (let i = first; i <= last; i++) {
    log.append(i, new Uint8Array(20).fill(i));
    await pass();
  }
}

const pairs = (first: number, last: number): [number, number][] =>
  Array.from({length: last - first + 1}, (_, i) => [first + i, first + i]);

describe('the batch log', () => {
  test('gives back what was appended, over segments, from a position on', () =>
    onHost(async (host, pass) => {
      const {log} = await open(host, 0);
      await append(log, 1, 20, pass);
      expect(host.disk.paths.length).toBeGreaterThan(4);
      const again = await open(host, 7);
      expect(again.records).toEqual(pairs(8, 20));
      expect([again.log.first, again.log.last]).toEqual([1, 20]);
    }));

  test('trims what the store has, but for the segments that are to be kept', () =>
    onHost(async (host, pass) => {
      const {log} = await open(host, 0);
      await append(log, 1, 20, pass);
      const before = host.disk.paths.length;
      await log.trim(10);
      expect(log.first).toBeGreaterThan(4);
      expect(log.first).toBeLessThanOrEqual(11);
      await log.trim(20);
      expect(host.disk.paths).toHaveLength(2);
      expect(before).toBeGreaterThan(2);
      const again = await open(host, 20);
      expect([again.log.last, again.records]).toEqual([20, []]);
      again.log.append(21, Uint8Array.of(1));
    }));

  test('ends at the first record that is not whole, and goes on from there', () =>
    onHost(async (host, pass) => {
      const {log} = await open(host, 0);
      await append(log, 1, 12, pass);
      const second = host.disk.file(host.disk.paths[1]!)!;
      second.write(40, Uint8Array.of(255)); // In the second record of the second segment.
      const torn = await open(host, 0);
      const last = torn.log.last;
      expect(last).toBeGreaterThan(1);
      expect(torn.records).toEqual(pairs(1, last));
      await append(torn.log, last + 1, last + 3, pass);
      expect((await open(host, 0)).records).toEqual(pairs(1, last + 3));
    }));

  test('a log that ends before the store does starts anew behind it', () =>
    onHost(async (host, pass) => {
      const {log} = await open(host, 0);
      await append(log, 1, 6, pass);
      const ahead = await open(host, 9);
      expect([ahead.log.first, ahead.log.last]).toEqual([10, 9]);
      await append(ahead.log, 10, 11, pass);
      expect((await open(host, 9)).records).toEqual(pairs(10, 11));
    }));

  test('a store that is older than the log is refused, and the log is left as it is', () =>
    onHost(async (host, pass) => {
      const {log} = await open(host, 0);
      await append(log, 1, 20, pass);
      await log.trim(20);
      const {first} = log;
      await expect(open(host, first - 2)).rejects.toThrow(/begins at batch/);
      expect((await open(host, 20)).log.first).toBe(first);
    }));

  test('trimmed segments that a power cut brings back are left out', () =>
    onHost(async (host, pass) => {
      const {log} = await open(host, 0);
      await append(log, 1, 20, pass);
      const oldest = host.disk.paths[0]!;
      const bytes = host.disk.peek(oldest, 0, host.disk.file(oldest)!.size);
      await log.trim(20);
      const {first} = log;
      host.disk.create(oldest).write(0, bytes);
      const again = await open(host, 20);
      expect([again.log.first, again.log.last]).toEqual([first, 20]);
      expect(host.disk.paths).not.toContain(oldest);
    }));
});
