// Goal: whatever programs on two mounts do at the same time, some order of their completed calls explains everything that they saw
// (P20, F6). Method: the workload of the simulated worlds, through the kernel, on one tree; the checker of the worlds.
import {mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {FsError} from '../../src/core/base/errors.js';
import {systemClock} from '../../src/core/os/clock.js';
import {History} from '../../src/core/sim/history.js';
import {SeededRandom} from '../../src/core/sim/random.js';
import {Program, type WorkloadShape} from '../../src/core/sim/workload.js';
import {DevCluster} from '../support/dev-cluster.js';
import {buildFsop, Fsop, MountRecorder} from '../support/mount-recorder.js';

/** More: CPFS_MIX=SEEDS, from the seed in CPFS_MIX_FIRST on. */
const SEEDS = Number(process.env.CPFS_MIX ?? 100);
const FIRST = Number(process.env.CPFS_MIX_FIRST ?? 1);
const PROGRAMS = 2;

let cluster: DevCluster;
let dir: string;
let program: string;
let mounts: string[];
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'cpfs-mix-'));
  program = buildFsop(dir);
  cluster = await DevCluster.up();
  mounts = [cluster.mount, await cluster.mountAgain('b')];
}, 120_000);
afterAll(async () => {
  await cluster?.down();
  rmSync(dir, {recursive: true, force: true});
}, 60_000);

function shapeOf(random: SeededRandom): WorkloadShape {
  return {
    threads: PROGRAMS,
    stories: random.range(4, 8),
    fileBytesMax: random.pick([8_000, 60_000, 200_000]),
    writeBytesMax: random.pick([3_000, 20_000, 60_000]),
    sharedChance: random.pick([0.5, 0.9, 1]),
    namesChance: random.pick([0.2, 0.5, 0.8]),
    locksChance: 0,
    piecesChance: 0.3,
    busyChance: 0,
    pauseMs: random.pick([0, 2, 20]),
  };
}

/** What `PROGRAMS` programs on each mount saw. */
async function play(seed: number): Promise<History> {
  const random = new SeededRandom(seed);
  const shape = shapeOf(random.split('shape'));
  const history = new History();
  mkdirSync(join(mounts[0]!, `seed${seed}`), {mode: 0o755});
  const recorders: MountRecorder[] = [];
  const programs = await Promise.all(
    mounts.flatMap((mount, life) =>
      Array.from({length: PROGRAMS}, async (_, thread) => {
        const recorder = new MountRecorder(program, life + 1, history, `own${life}${thread}-`);
        recorders.push(recorder);
        await recorder.enter(join(mount, `seed${seed}`));
        const luck = random.split(`program ${life} ${thread}`);
        return new Program(recorder, luck, systemClock, shape, `own${life}`);
      }),
    ),
  );
  await Promise.all(programs.map((one) => one.run()));
  for (const recorder of recorders) recorder.end();
  return history;
}

/** Calls on the object that could not be explained, the last ones first: what is printed of a failure may be cut short. */
function about(failure: string, history: History): string {
  const oid = /\boid=\d+\b/.exec(failure)?.[0] ?? '';
  const lines = history.show().reverse();
  return lines.filter((line) => `${line} `.includes(`${oid} `)).join('\n');
}

test(`${SEEDS} mixes of calls on two mounts: an order of them explains what was seen`, async () => {
  let calls = 0;
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
    const history = await play(seed);
    calls += history.length;
    try {
      history.check();
    } catch (error) {
      throw new Error(`seed ${seed}: ${String(error)}\n${about(String(error), history)}`, {
        cause: error,
      });
    }
  }
  expect(calls).toBeGreaterThan(30 * SEEDS);
}, 1_800_000);

test('a page that is read while another program cuts the file is what was there, or nothing', async () => {
  const path = join(mounts[0]!, 'cut');
  const old = Buffer.alloc(18_000, 0xaa);
  writeFileSync(path, old);
  const open = async (): Promise<[Fsop, string]> => {
    const fsop = new Fsop(program);
    const [dir] = await fsop.call('root', mounts[0]!);
    const [fd] = await fsop.call('find', dir!, 'cut');
    return [fsop, fd!];
  };
  const [[cutter, cut], ...readers] = [await open(), await open(), await open()];
  const [file] = await cutter.call('open', cut);
  const seen = new Set<string>();
  let done = false;
  const reading = readers.map(async ([fsop, fd]) => {
    while (!done) {
      const [hex = ''] = await fsop.call('cached', fd, 0, 4096);
      seen.add(hex);
    }
  });
  for (let round = 0; round < 1500; round++) {
    await cutter.call('truncate', cut, 0);
    await cutter.call('write', file!, 0, old.toString('hex'));
  }
  done = true;
  await Promise.all(reading);
  for (const fsop of [cutter, ...readers.map(([one]) => one)]) fsop.end();
  expect([...seen].sort()).toEqual(['', old.subarray(0, 4096).toString('hex')]);
}, 120_000);

test('of what another mount cuts off a reader sees what was there, or nothing: never zeros', async () => {
  const old = Buffer.alloc(131_072, 0xaa);
  writeFileSync(join(mounts[0]!, 'shared'), old);
  const open = async (mount: string): Promise<[Fsop, string]> => {
    const fsop = new Fsop(program);
    const [dir] = await fsop.call('root', mount);
    const [fd] = await fsop.call('find', dir!, 'shared');
    return [fsop, fd!];
  };
  const near = mounts[0]!;
  const [[cutter, cut], [writer, written], [stater, state], ...readers] = [
    await open(mounts[1]!),
    await open(near),
    await open(near),
    await open(near),
    await open(near),
    await open(near),
  ];
  const seen = new Set<string>();
  let done = false;
  const all = (async () => {
    const [file] = await cutter.call('open', cut);
    for (let round = 0; round < 150; round++) {
      await cutter.call('truncate', cut, 40_960);
      await cutter.call('write', file!, 40_960, old.subarray(40_960).toString('hex'));
    }
    done = true;
  })();
  const others = readers.map(async ([fsop, fd], i) => {
    // One reads through a descriptor that it has had all the time.
    const [kept] = i === 0 ? await fsop.call('look', fd) : [];
    while (!done) {
      const read = kept === undefined ? ['cached', fd] : ['read', kept];
      const [hex = ''] = await fsop.call(read[0]!, read[1]!, 96_256, 2048).catch((error) => {
        // What the kernel would fill up with zeros is refused, and it seldom asks again without the program's knowing.
        if (kept === undefined || !(error instanceof FsError)) throw error;
        return [error.errno === 'EIO' ? '' : error.errno];
      });
      seen.add(hex);
    }
  });
  const stating = (async () => {
    while (!done) await stater.call('stat', state);
  })();
  const [file] = await writer.call('open', written);
  // Somebody who writes something else there all the time keeps nobody from what he wants.
  for (let i = 0; !done; i++) {
    const bytes = old.subarray(0, 4096).toString('hex');
    await writer.call('write', file!, 4096 * (i % 4), bytes);
  }
  await Promise.all([all, stating, ...others]);
  for (const fsop of [cutter, writer, stater, ...readers.map(([one]) => one)]) fsop.end();
  expect([...seen].sort()).toEqual(['', old.subarray(0, 2048).toString('hex')]);
}, 60_000);
