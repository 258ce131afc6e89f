// Goal: whoever follows the log of a meta server has its state, or knows that he has not (issue 6, item 1). Method: two ledgers on simulated
// hosts; records of the one are given to the other, as they are and otherwise.
import {describe, expect, test} from '@jest/globals';
import {ROOT_OID} from '../../../../src/core/base/ids.js';
import {Diverged, Ledger} from '../../../../src/core/meta/ledger.js';
import {recordAt} from '../../../../src/core/meta/log.js';
import {CALM_MACHINE, type SimMachine} from '../../../../src/core/sim/machine.js';
import {MetaFixture} from '../../../support/meta.js';

const POOL = {small: 1, medium: 0, large: 0};

/** A ledger on a host of its own, as of now. */
function another(f: MetaFixture, name: string): SimMachine {
  return f.land.machine(name, {...CALM_MACHINE, pool: POOL});
}

const open = (host: SimMachine, until?: number): Promise<Ledger> =>
  Ledger.open(host.boot(), until === undefined ? {} : {until});

/** The fixture's own, whose machine is dead. */
function original(f: MetaFixture): Promise<Ledger> {
  const env = f.host.boot();
  return Ledger.open({...env, kv: f.kv.attach(env.clock)});
}

/** Everything that the fixture's machine has logged, record by record. */
async function records(f: MetaFixture): Promise<Uint8Array[]> {
  const found: Uint8Array[] = [];
  const reader = await original(f);
  for (let next = 1; next <= reader.last; ) {
    const bytes = (await reader.recordsFrom(next))!;
    for (let at = 0, header = recordAt(bytes, at); header !== null; header = recordAt(bytes, at)) {
      found.push(bytes.slice(at, header.end));
      at = header.end;
      next = header.sequence + 1;
    }
  }
  await reader.abandon();
  return found;
}

/** A few changes of all kinds, and the records of their batches. */
const story = (run: (f: MetaFixture, log: Uint8Array[]) => Promise<void>): Promise<void> =>
  MetaFixture.run(async (f) => {
    const dir = await f.mkdir(ROOT_OID, 'd');
    for (let i = 0; i < 20; i++) await f.create(dir.oid, `f${i}`);
    await f.unlink(dir.oid, 'f3');
    f.crash(false);
    await run(f, await records(f));
  });

describe('a ledger that follows another', () => {
  test('has its state, record by record, and over a restart', () =>
    story(async (f, log) => {
      const host = another(f, 'standby');
      let ledger = await open(host);
      for (const record of log.slice(0, 10)) ledger.follow(record);
      await ledger.sync();
      host.kill(true);
      ledger = await open(host);
      expect(ledger.last).toBe(10);
      for (const record of log.slice(10)) ledger.follow(record);
      const there = await original(f);
      expect([ledger.last, ledger.sum, ledger.store.digest]).toEqual([
        there.last,
        there.sum,
        there.store.digest,
      ]);
      const all = (one: Ledger) => one.store.range('a', 'z', 9999).map(([k, v]) => [k, `${v}`]);
      expect(all(ledger)).toEqual(all(there));
      expect(all(ledger).length).toBeGreaterThan(60);
    }));

  test('refuses what is not the next record: another one, a damaged one, one of another history', () =>
    story(async (f, log) => {
      const ledger = await open(another(f, 'standby'));
      for (const record of log.slice(0, 5)) ledger.follow(record);
      const damaged = Uint8Array.from(log[5]!);
      damaged[damaged.length - 1]! ^= 1;
      for (const wrong of [log[4]!, log[6]!, damaged, log[5]!.subarray(0, 30)])
        expect(() => ledger.follow(wrong)).toThrow('ESTALE');
      const fork = await open(another(f, 'fork'));
      for (const record of log.slice(0, 4)) fork.follow(record);
      fork.append(fork.batch({sec: 1, nsec: 0}));
      expect(() => fork.follow(log[5]!)).toThrow('does not continue the log');
      expect(ledger.last).toBe(5);
      ledger.follow(log[5]!);
    }));

  test('knows when a batch has another outcome than there', () =>
    story(async (f, log) => {
      const ledger = await open(another(f, 'standby'));
      for (const record of log.slice(0, 8)) ledger.follow(record);
      ledger.store.put('xsomething', Uint8Array.of(1));
      expect(() => ledger.follow(log[8]!)).toThrow(Diverged);
    }));

  test('cuts off what the others went on without', () =>
    story(async (f, log) => {
      const host = another(f, 'standby');
      let ledger = await open(host);
      for (const record of log.slice(0, 12)) ledger.follow(record);
      await ledger.abandon();
      ledger = await open(host, 9);
      expect([ledger.last, ledger.sum]).toEqual([9, recordAt(log[8]!, 0)!.sum]);
      for (const record of log.slice(9)) ledger.follow(record);
      expect(ledger.last).toBe(log.length);
      expect(await ledger.sumAt(9)).toBe(recordAt(log[8]!, 0)!.sum);
      expect(await ledger.recordsFrom(log.length + 1)).toBeNull();
    }));

  test('writes nothing into its store that not all must have yet', () =>
    story(async (f, log) => {
      const host = another(f, 'standby');
      let ledger = await open(host);
      let release = (): void => {};
      ledger.keptBy = () =>
        new Promise((resolve) => {
          release = resolve;
        });
      for (const record of log) ledger.follow(record);
      await f.pass(20_000);
      expect(ledger.store.position.sequence).toBe(0);
      await ledger.abandon();
      ledger = await open(host, 7);
      expect(ledger.last).toBe(7);
      for (const record of log.slice(7)) ledger.follow(record);
      release();
      await ledger.close();
      ledger = await open(host);
      expect(ledger.store.position).toEqual({
        sequence: log.length,
        sum: recordAt(log.at(-1)!, 0)!.sum,
      });
    }));

  test('says that what it had is in its store, also while more comes all the time', () =>
    MetaFixture.run(async (f) => {
      for (let i = 0; i < 300; i++) await f.create(ROOT_OID, `f${i}`);
      f.crash(false);
      const ledger = await open(another(f, 'standby'));
      const log = await records(f);
      for (const record of log.slice(0, 10)) ledger.follow(record);
      let asked: number | null = null;
      const done = ledger.checkpointed().then(() => {
        asked = ledger.last;
      });
      for (const record of log.slice(10)) {
        ledger.follow(record);
        await f.pass(0.1);
      }
      await done;
      expect(asked).toBeLessThan(150);
      expect(ledger.store.position.sequence).toBeGreaterThanOrEqual(10);
      await ledger.close();
      expect(ledger.store.position.sequence).toBe(log.length);
    }));

  test('says so when what it had will not be in its store', () =>
    story(async (f, log) => {
      const ledger = await open(another(f, 'standby'));
      for (const record of log) ledger.follow(record);
      const done = ledger.checkpointed();
      void ledger.abandon();
      await expect(done).rejects.toThrow('given up');
      await expect(ledger.checkpointed()).rejects.toThrow('given up');
    }));
});
