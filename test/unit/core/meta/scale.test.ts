// Goal: what one meta server needs for each file stays small, and what it needs at all does not grow with the files: disk, what a start reads, and
// memory. Method: counts, not times; test/bench/meta-machine.ts measures the same, and times, with millions of files.
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {describe, expect, test} from '@jest/globals';
import {ROOT_OID} from '../../../../src/core/base/ids.js';
import {KIB, MIB} from '../../../../src/core/base/units.js';
import type {Clock} from '../../../../src/core/env/clock.js';
import type {Kv} from '../../../../src/core/env/kv.js';
import {silentLog} from '../../../../src/core/env/log.js';
import {Machine} from '../../../../src/core/meta/machine.js';
import {LmdbKv} from '../../../../src/core/os/kv-lmdb.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import type {SimKv} from '../../../../src/core/sim/kv.js';
import {serverEnv} from '../../../../src/roles/real-env.js';
import {bytes, FORMAT, MetaFixture, whole} from '../../../support/meta.js';
import {MetaCluster} from '../../../support/meta-cluster.js';
import {play} from '../../../support/sim.js';

/** 8 to 20 characters, in no order. */
function nameOf(i: number): Uint8Array {
  const mixed = Math.imul(i + 1, 0x9e37_79b1) >>> 0;
  return bytes(
    mixed
      .toString(36)
      .padStart(7, '0')
      .padEnd(8 + (mixed % 13), `-${i}.file.dat`),
  );
}

/** Every store that this one is attached as from now on. */
function wrap(kv: SimKv, around: (inner: Kv) => Kv): void {
  const attach = kv.attach.bind(kv);
  kv.attach = (clock: Pick<Clock, 'timer'>) => around(attach(clock));
}

describe('on disk', () => {
  const FILES = 20_000;

  /** Bytes of used pages for each empty file: as they are made, and written anew. */
  async function bytesPerFile(directoryFiles: number): Promise<[number, number]> {
    const folder = mkdtempSync(join(tmpdir(), 'cpfs-scale-'));
    try {
      const pool = {small: 1, medium: 0, large: 0};
      const env = await serverEnv(silentLog, pool, folder, {store: true});
      const machine = await Machine.open(env, {
        format: FORMAT,
        onApplied: () => {},
        onFailed: (error) => {
          throw error;
        },
      });
      const session = await machine.createSession(bytes('test'));
      let requestId = 0;
      const request = whole(OPS.create, {mode: 0o644, caller: {uid: 1000, gid: 1000}});
      const command = (parent: number, name: Uint8Array) => ({
        ...{session, requestId: ++requestId, groups: [1]},
        request: {...request, parent, name},
      });
      for (let i = 0, parent = 0; i < FILES; i += 100) {
        if (i % directoryFiles === 0)
          parent = (await machine.submit(OPS.mkdir, command(ROOT_OID, nameOf(i)))).reply.attr!.oid;
        const names = Array.from({length: 100}, (_, j) => nameOf(i + j));
        await Promise.all(names.map((name) => machine.submit(OPS.create, command(parent, name))));
      }
      await machine.close();
      const made = (env.kv as LmdbKv).pages().usedBytes;
      await env.kv.close();
      await env.disk.close();
      const {after} = await LmdbKv.compact(join(folder, 'store'));
      return [made / FILES, after / FILES];
    } finally {
      rmSync(folder, {recursive: true});
    }
  }

  test.each([1000, FILES])(
    'an empty file takes at most 400 bytes (%d in a directory)',
    async (many) => {
      const [made, compacted] = await bytesPerFile(many);
      expect(made).toBeLessThan(400);
      expect(compacted).toBeLessThan(200);
    },
  );
});

test('a start reads as much of the store with many files as with few', async () => {
  const readsOf = async (files: number): Promise<number> => {
    const c = new MetaCluster(1);
    let reads = 0;
    wrap(c.kv, (inner) => ({
      ...inner,
      get: (key) => {
        reads++;
        return inner.get(key);
      },
      range: (from, to, limit) => {
        const rows = [...inner.range(from, to, limit)];
        reads += 1 + rows.length;
        return rows;
      },
    }));
    await play(c.land, async () => {
      await c.boot();
      for (let i = 0; i < 5; i++) await c.addServer(`d${i}`);
      const a = await c.client('a');
      for (let i = 0; i < files; i += 100)
        await Promise.all(Array.from({length: 100}, (_, j) => a.create(`f${i + j}`)));
      await a.peer.call(OPS.goodbye, {});
      await c.server.stop();
      c.crash(false);
      reads = 0;
      await c.boot();
      // Until after the grace period, with what is then looked through.
      await c.pass(30_000);
    });
    return reads;
  };
  expect(await readsOf(3000)).toBe(await readsOf(100));
});

/** A machine with a file, whose checkpoints wait in `held` from now on. */
async function heldUp(f: MetaFixture) {
  let held: (() => void)[] | null = null;
  wrap(f.kv, (inner) => ({
    ...inner,
    write: async (changes) => {
      if (held !== null) await new Promise<void>((resolve) => held!.push(resolve));
      return inner.write(changes);
    },
  }));
  f.crash(false);
  await f.boot();
  const file = await f.create(ROOT_OID, 'f');
  await f.machine.sync();
  const waiting: (() => void)[] = [];
  held = waiting;
  const go = (): void => {
    held = null;
    for (const one of waiting.splice(0)) one();
  };
  return {file, held: waiting, go};
}

const VALUE = 60 * KIB;

test('what waits for a store that does not keep up is bounded; then requests wait', () =>
  MetaFixture.run(async (f) => {
    const COUNT = 800;
    const {file, held, go} = await heldUp(f);
    let answered = 0;
    const requests: Promise<unknown>[] = [];
    for (let i = 0; i < COUNT; i++) {
      const value = String(i).padEnd(VALUE);
      requests.push(f.setxattr(file.oid, 'user.a', value).then(() => answered++));
      if (i % 8 === 7) await f.pass(1);
    }
    await f.pass(10_000);
    expect(held.length).toBe(1);
    // What is being written, and what has come since.
    expect(answered * VALUE).toBeGreaterThan(8 * MIB);
    expect(answered * VALUE).toBeLessThan(18 * MIB);
    go();
    await Promise.all(requests);
    expect(f.getxattr(file.oid, 'user.a').trim()).toBe(String(COUNT - 1));
    expect(f.failures).toEqual([]);
  }));

test.each(['ended', 'given up'])(
  'a store that gets no further does not keep those who wait for it from an answer when the machine is %s',
  (how) =>
    MetaFixture.run(async (f) => {
      const {file, go} = await heldUp(f);
      const answers: string[] = [];
      for (let i = 0; i < 400; i++) {
        f.setxattr(file.oid, 'user.a', String(i).padEnd(VALUE)).then(
          () => answers.push('done'),
          (error: Error) => answers.push(error.message),
        );
        if (i % 8 === 7) await f.pass(1);
      }
      await f.pass(10_000);
      expect(answers.length).toBeLessThan(300);
      const given = how === 'given up' ? f.machine.abandon() : f.machine.end();
      await f.pass(1);
      expect(answers.length).toBe(400);
      expect(answers.every((answer) => answer === 'done')).toBe(how === 'ended');
      go();
      await given;
      await f.machine.close();
      expect(f.failures).toEqual([]);
    }),
);
