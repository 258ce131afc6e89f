import {describe, expect, test} from '@jest/globals';
import {ROOT_OID} from '../../../../src/core/base/ids.js';
import type {Client} from '../../../../src/core/client/api.js';
import {sleep} from '../../../../src/core/env/clock.js';
import type {Call, Outcome} from '../../../../src/core/sim/call.js';
import {History} from '../../../../src/core/sim/history.js';
import {LockWatch} from '../../../../src/core/sim/lock-watch.js';
import {SimLand} from '../../../../src/core/sim/machine.js';
import {Recorder} from '../../../../src/core/sim/recorder.js';
import {Program, type WorkloadShape} from '../../../../src/core/sim/workload.js';
import {defer, play} from '../../../support/sim.js';
import {type ToyBug, ToyFiles} from '../../../support/toy-files.js';

const SHAPE: WorkloadShape = {
  threads: 2,
  stories: 8,
  fileBytesMax: 40_000,
  writeBytesMax: 20_000,
  sharedChance: 0.7,
  namesChance: 0.4,
  locksChance: 0,
  piecesChance: 0,
  busyChance: 0,
  pauseMs: 3,
};

/** Two clients with two programs each on a toy; the history of what they saw. */
async function toyWorld(
  seed: number,
  bug: ToyBug | null,
): Promise<{history: History; digest: string}> {
  const land = new SimLand(seed, defer);
  const toy = new ToyFiles();
  const strike = land.random.split('bug');
  toy.bug = bug;
  toy.strikes = () => strike.chance(0.3);
  const history = new History();
  const programs = [1, 2].flatMap((life) => {
    const env = land.machine(`client${life}`).boot();
    const pause = (): Promise<void> => sleep(env.clock, env.random.float() * 2);
    const recorder = new Recorder(
      life,
      toy.client(env.pool, pause),
      env.pool,
      history,
      land.scheduler,
      new LockWatch(),
    );
    return [0, 1].map(
      (i) => new Program(recorder, env.random.split(`p${i}`), env.clock, SHAPE, `own${life}`),
    );
  });
  await play(land, async () => {
    await Promise.all(programs.map((program) => program.run()));
  });
  return {history, digest: land.scheduler.digest};
}

const X: Call = {
  kind: 'write',
  client: 1,
  oid: 5,
  offset: 0,
  bytes: new Uint8Array(6000).fill(1),
  append: false,
};
const attr = (size: number, nlink = 1): Outcome => ({
  attr: {oid: 5, mode: 0o100644, nlink, size},
  created: true,
});

/** A file 5 that client 1 has made and, when told, filled. */
function begun(written: boolean): History {
  const history = new History();
  const call: Call = {
    kind: 'create',
    client: 1,
    parent: 1,
    name: 'f',
    exclusive: true,
    truncate: false,
  };
  history.end(history.begin(call, 0), attr(0));
  if (written) history.end(history.begin(X, 0), {offset: 0});
  return history;
}

const read = (client: number): Call => ({kind: 'read', client, oid: 5, offset: 0, length: 9000});

describe('linearizability checker', () => {
  test('a shared toy is right in 40 worlds; the same seed gives the same digest', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const {history, digest} = await toyWorld(seed, null);
      try {
        history.check();
      } catch (error) {
        throw new Error(`seed ${seed}`, {cause: error});
      }
      if (seed % 20 === 0) expect((await toyWorld(seed, null)).digest).toBe(digest);
    }
  });

  // From worlds on that come to it soon.
  test.each<[ToyBug, number]>([
    ['lost-write', 1],
    ['stale-read', 1],
    ['wrong-size', 1],
    ['double-create', 1],
    ['nlink', 40],
    ['kept-xattr', 140],
  ])('a toy with %s is found out within 20 worlds', async (bug, first) => {
    let found = 0;
    for (let seed = first; seed < first + 20 && found === 0; seed++) {
      const {history} = await toyWorld(seed, bug);
      try {
        history.check();
      } catch {
        found = seed;
      }
    }
    expect(found).toBeGreaterThan(0);
  });

  test('a read that overlaps a write may see it or not, one after it must', () => {
    for (const seen of [new Uint8Array(0), new Uint8Array(6000).fill(1)]) {
      const history = begun(false);
      const write = history.begin(X, 0);
      const reading = history.begin(read(2), 0);
      history.end(reading, {bytes: seen});
      history.end(write, {offset: 0});
      history.check();
      history.end(history.begin(read(2), 0), {bytes: seen});
      if (seen.length > 0) history.check();
      else expect(() => history.check()).toThrow('0 bytes instead of 6000');
    }
  });

  test('attributes that come with what was made are those of some moment of the call', async () => {
    // Another one changes its mode before the answer comes, and then once more.
    for (const seen of [0o644, 0o600, 0o640]) {
      const land = new SimLand(1, defer);
      const env = land.machine('client').boot();
      const files = new ToyFiles().client(env.pool, () => sleep(env.clock, 1));
      const history = new History();
      const recorder = (life: number, client: Client): Recorder =>
        new Recorder(life, client, env.pool, history, land.scheduler, new LockWatch());
      const other = recorder(2, files);
      const late: Client = Object.create(files, {});
      late.create = async (...call) => {
        const {attr, created} = await files.create(...call);
        await other.chmod(attr.oid, 0o600);
        return {attr: {...attr, mode: 0o100000 | seen}, created};
      };
      await play(land, async () => {
        const options = {exclusive: true, truncate: false};
        await recorder(1, late).create(ROOT_OID, 'f', options);
      });
      if (seen !== 0o640) history.check();
      else expect(() => history.check()).toThrow('getattr');
    }
  });

  test('after a crash what was synced is there, the rest is old or new for each block, and stays so', () => {
    const newer = new Uint8Array(6000).fill(2);
    const mixed = new Uint8Array(6000).fill(1);
    mixed.fill(2, 4096);
    for (const synced of [false, true]) {
      const history = begun(true);
      history.end(history.begin({kind: 'fsync', client: 1, oid: 5}, 0), {done: true});
      history.end(history.begin({...X, bytes: newer}, 0), {offset: 0});
      if (synced) history.end(history.begin({kind: 'fsync', client: 1, oid: 5}, 0), {done: true});
      history.end(history.begin({kind: 'crash', client: 1}, 0), {done: true});
      history.end(history.begin(read(2), 0), {bytes: mixed});
      if (synced) expect(() => history.check()).toThrow('byte 0 is 1, not 2');
      else history.check();
      if (synced) continue;
      history.end(history.begin(read(2), 0), {bytes: newer});
      expect(() => history.check()).toThrow('byte 0 is 2, not 1');
    }
  });

  test('what another client has seen is not lost with the writer', () => {
    const history = begun(true);
    history.end(history.begin(read(2), 0), {bytes: new Uint8Array(6000).fill(1)});
    history.end(history.begin({kind: 'crash', client: 1}, 0), {done: true});
    history.end(history.begin(read(2), 0), {bytes: new Uint8Array(0)});
    expect(() => history.check()).toThrow('0 bytes instead of 6000');
  });

  test('calls that change nothing do not tangle a history: dead clients and readers', () => {
    const history = begun(false);
    // Each may have happened at any time since, or never: only a first one can have made the directory.
    for (let life = 2; life < 14; life++) {
      history.begin({kind: 'mkdir', client: life, parent: 1, name: 'd'}, 0);
      history.begin({kind: 'lookup', client: life, parent: 1, name: 'f'}, 0);
    }
    // Sixteen at the same time, in any order.
    const looks = Array.from({length: 16}, () =>
      history.begin({kind: 'getattr', client: 1, oid: 5}, 0),
    );
    for (const look of looks) history.end(look, attr(0));
    const late = history.begin({kind: 'mkdir', client: 1, parent: 1, name: 'd'}, 0);
    history.end(late, {errno: 'EEXIST'});
    history.check();
    const wrong = history.begin({kind: 'rmdir', client: 1, parent: 1, name: 'd'}, 0);
    history.end(wrong, {errno: 'ENOTEMPTY'});
    expect(() => history.check()).toThrow('nothing explains');
  });

  test('a call without an outcome may have happened or not', () => {
    for (const nlink of [1, 2]) {
      const history = begun(false);
      history.begin({kind: 'link', client: 1, oid: 5, parent: 1, name: 'g'}, 0);
      history.end(history.begin({kind: 'getattr', client: 2, oid: 5}, 0), attr(0, nlink));
      history.check();
    }
    const history = begun(false);
    history.begin({kind: 'link', client: 1, oid: 5, parent: 1, name: 'g'}, 0);
    history.end(history.begin({kind: 'getattr', client: 2, oid: 5}, 0), attr(0, 3));
    expect(() => history.check()).toThrow('nothing explains');
  });

  test('a call of a client that died may have happened until its session was over, not later', () => {
    for (const late of [false, true]) {
      const history = begun(false);
      history.begin({kind: 'link', client: 2, oid: 5, parent: 1, name: 'g'}, 0);
      history.end(history.begin({kind: 'crash', client: 2}, 0), {done: true});
      history.died(2, 100);
      const look = (time: number, nlink: number): void =>
        history.end(history.begin({kind: 'getattr', client: 1, oid: 5}, time), attr(0, nlink));
      look(50, 1);
      look(late ? 150 : 99, 1);
      look(late ? 160 : 150, 2);
      if (late) expect(() => history.check()).toThrow('nothing explains');
      else history.check();
    }
  });

  test('many deaths do not tangle a history: what they opened, and what is long over', () => {
    const history = begun(false);
    const create = {kind: 'create', parent: 1, exclusive: false, truncate: false} as const;
    for (let life = 2; life < 100; life++) {
      history.begin({...create, client: life, name: 'f'}, life);
      history.begin({...create, client: life, name: 'g'}, life);
      history.end(history.begin({kind: 'crash', client: life}, life), {done: true});
      history.died(life, life + 1);
    }
    history.end(history.begin({kind: 'getattr', client: 1, oid: 5}, 200), attr(0));
    history.end(history.begin({kind: 'getattr', client: 1, oid: 5}, 200), attr(1));
    expect(() => history.check()).toThrow('nothing explains');
  });

  test('nor do writes of clients that died, the first of which is seen long after', () => {
    const history = begun(true);
    for (let life = 2; life < 40; life++) {
      const bytes = new Uint8Array(1000).fill(life);
      history.begin({...X, client: life, bytes, offset: life === 2 ? 0 : 5000}, life);
      history.end(history.begin({kind: 'crash', client: life}, life), {done: true});
      history.died(life, 1000);
      // It cannot have happened after this.
      if (life !== 2) continue;
      history.end(history.begin({...X, bytes: bytes.subarray(0, 10)}, life), {offset: 0});
      history.end(history.begin({...X, bytes: new Uint8Array(10).fill(1)}, life), {offset: 0});
    }
    const seen = new Uint8Array(5000).fill(1).fill(2, 10, 1000);
    history.end(history.begin({...read(1), length: 5000} as Call, 70), {bytes: seen});
    history.check();
  });

  test('nor do names that clients made and took away before they died, one like the other', () => {
    const name = 'd';
    // As often as that the directory can have come back, and not more often.
    for (const [times, explained] of [
      [12, true],
      [13, false],
    ] as const) {
      const history = begun(false);
      for (let life = 2; life < 26; life++) {
        const kind = life % 2 === 0 ? 'mkdir' : 'rmdir';
        history.begin({kind, client: life, parent: 1, name}, life);
        history.end(history.begin({kind: 'crash', client: life}, life), {done: true});
        history.died(life, 1000);
      }
      for (let i = 0; i < times; i++) {
        history.end(history.begin({kind: 'rmdir', client: 1, parent: 1, name}, 70), {done: true});
        const call: Call = {kind: 'symlink', client: 1, parent: 1, name: `l${i}`, target: 't'};
        history.end(history.begin(call, 70), {done: true});
      }
      if (explained) history.check();
      else expect(() => history.check()).toThrow('nothing explains');
    }
  });

  test('what died together with its client may have been taken back by that, what came later not', () => {
    for (const [before, lost] of [
      [true, true],
      [false, false],
    ]) {
      const history = begun(false);
      const death = (): void =>
        history.end(history.begin({kind: 'crash', client: 2}, 0), {done: true});
      const make: Call = {kind: 'mkdir', client: 2, parent: 1, name: 'd'};
      if (before) history.end(history.begin(make, 0), {done: true});
      else history.begin(make, 0);
      death();
      history.died(2, 100);
      const found: Outcome = {attr: {oid: 6, mode: 0o040755, nlink: 2, size: 0}};
      const look = (outcome: Outcome): void =>
        history.end(history.begin({kind: 'lookup', client: 1, parent: 1, name: 'd'}, 50), outcome);
      look(before ? {errno: 'ENOENT'} : found);
      look(before ? {errno: 'ENOENT'} : found);
      if (lost) expect(() => history.check()).toThrow('nothing explains');
      history.check(true);
    }
  });
});
