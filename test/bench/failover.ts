// The active meta server is lost again and again: `npm run failover -- --times N --seed S`. Two meta servers, each in a network namespace of its
// own, an etcd, data servers and two mounts; programs on both mounts compare whatever they make (failover-work.ts). At random moments the
// active meta server is killed, stopped, or cut off from everybody, and comes back. Fails when a program is told of an error, when anything
// differs, or when a call takes longer than it may: 5 s for a kill, 10 s else. Needs root, iproute2, git, a C compiler, fio and etcd.
import {mkdirSync, mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {parseArgs} from 'node:util';
import {SeededRandom} from '../../src/core/sim/random.js';
import {FailoverWork} from '../support/failover-work.js';
import {FailoverCluster} from './failover-cluster.js';

const FAULTS = ['kill', 'stop', 'cut'] as const;
/** The longest that a call may take, per fault. */
const BOUND_MS = {kill: 5_000, stop: 10_000, cut: 10_000};
const [REST_MS, AWAY_MS] = [3_000, 8_000];

async function main(): Promise<number> {
  const {values} = parseArgs({
    options: {
      times: {type: 'string', default: '50'},
      seed: {type: 'string', default: '1'},
    },
  });
  const [times, seed] = [Number(values.times), Number(values.seed)];
  if (!(times > 0) || !Number.isSafeInteger(seed)) {
    process.stderr.write('usage: npm run failover -- [--times N] [--seed S]\n');
    return 2;
  }
  const folder = mkdtempSync(join(tmpdir(), 'cpfs-failover-'));
  const cluster = new FailoverCluster(folder);
  const random = new SeededRandom(seed);
  let work: FailoverWork | null = null;
  let wrong: string | null = null;
  const longest = {kill: [] as number[], stop: [] as number[], cut: [] as number[]};
  try {
    await cluster.start();
    const local = join(folder, 'local');
    mkdirSync(local);
    work = await FailoverWork.start(cluster.mounts, local);
    work.verifyWithFio();
    for (let time = 1; time <= times && wrong === null; time++) {
      await delay(REST_MS * (0.5 + random.float()));
      await cluster.allInSync();
      work.takeLongest();
      const fault = random.pick(FAULTS);
      const which = await cluster.active();
      await cluster.hit(which, fault);
      await delay(AWAY_MS + random.float() * 4_000);
      await cluster.mend(which, fault);
      // Calls that hang are told of when they end.
      await delay(2_000);
      const {name, ms} = work.takeLongest();
      longest[fault].push(ms);
      process.stdout.write(`${time} ${fault} of meta ${which}: longest ${name} ${ms} ms\n`);
      wrong = work.now;
      if (ms > BOUND_MS[fault]) wrong ??= `${name} took ${ms} ms`;
    }
  } catch (error) {
    wrong ??= String((error as Error).stack ?? error);
  }
  wrong = (await work?.end().catch(String)) ?? wrong;
  await cluster.stop();
  if (wrong === null) rmSync(folder, {recursive: true, force: true});
  for (const fault of FAULTS) {
    const all = longest[fault].sort((a, b) => a - b);
    const median = all[Math.floor(all.length / 2)] ?? 0;
    process.stdout.write(
      `${fault}: ${all.length} times, longest call: median ${median} ms, most ${all.at(-1) ?? 0} ms\n`,
    );
  }
  const calls = work?.probes.reduce((sum, probe) => sum + probe.calls, 0);
  process.stdout.write(
    `seed ${seed}: ${calls} calls of the probes, rounds ${JSON.stringify(work?.rounds)}; ${wrong ?? 'nothing was wrong'}${wrong === null ? '' : `; see ${folder}`}\n`,
  );
  return wrong === null ? 0 : 1;
}

process.exitCode = await main();
