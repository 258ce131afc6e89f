// Goal: the meta server is lost, and programs notice a pause, not an error (issue: C2, C136, U4; SEEDS.md 6.4 points 11, 14, 17; ANCHORS.md section 4).
// Method: real processes: two meta servers, etcd, two mounts with programs that compare what they make; the active one is killed and stopped.
// `npm run failover` does it fifty times, and cuts networks.
import {mkdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import type {MetaStatus} from '../../src/roles/meta/nodes.js';
import {cpfs, DevCluster} from '../support/dev-cluster.js';
import {FailoverWork} from '../support/failover-work.js';

const MINUTES = 60_000;
let cluster: DevCluster;
let second: string;
beforeAll(async () => {
  cluster = await DevCluster.up('--metas', '2');
  // It finds the active one through the coordinator.
  second = await cluster.mountAgain('second', '', `etcd://${cluster.dev.etcd!.address}`);
}, 2 * MINUTES);
afterAll(() => cluster?.down(), MINUTES);

const addresses = (): string => cluster.dev.meta.map(({address}) => address).join(',');

async function metaStatus(): Promise<MetaStatus> {
  const ran = await cpfs('meta', 'status', '--meta', addresses(), '-o', 'json', '--timeout', '2');
  return JSON.parse(ran.stdout) as MetaStatus;
}

async function untilOk(): Promise<MetaStatus> {
  const end = performance.now() + MINUTES;
  for (;;) {
    const status = await metaStatus();
    if (status.state === 'ok') return status;
    if (performance.now() > end)
      throw new Error(`the meta servers are not in sync: ${JSON.stringify(status)}`);
    await delay(200);
  }
}

/** Number of the active one, from 1, and its process. */
async function active(): Promise<{index: number; pid: number}> {
  const status = await untilOk();
  const found = cluster.dev.meta.find(({address}) => address === status.active)!;
  return {index: found.index, pid: found.pid};
}

test(
  'the active meta server is killed, and stopped, under programs on two mounts: a pause, no error, nothing lost or done twice',
  async () => {
    const local = join(cluster.folder, 'local');
    mkdirSync(local);
    const work = await FailoverWork.start([cluster.mount, second], local);
    const terms = [(await untilOk()).term];
    for (const how of ['kill', 'stop', 'kill'] as const) {
      await delay(2_000);
      const {index, pid} = await active();
      if (how === 'kill') await cluster.do('kill', 'meta', String(index));
      else process.kill(pid, 'SIGSTOP');
      await delay(7_000);
      if (how === 'kill') await cluster.do('start', 'meta', String(index));
      else process.kill(pid, 'SIGCONT');
      const status = await untilOk();
      expect(status).toMatchObject({durability: 'both', durabilityNow: 'both'});
      terms.push(status.term);
      expect(work.now).toBeNull();
    }
    expect(await work.end()).toBeNull();
    expect(work.probes.every(({calls}) => calls > 100)).toBe(true);
    expect(terms).toEqual([...terms].sort((a, b) => a - b));
    expect(new Set(terms).size).toBe(4);
  },
  5 * MINUTES,
);

test(
  'the coordinator is away: service goes on until the lease may be over, then stops, and goes on with it',
  async () => {
    await untilOk();
    await cluster.do('kill', 'etcd');
    // The lease was 3 s long.
    await delay(6_000);
    const away = await metaStatus();
    expect(away.state).toBe('down');
    expect(away.servers.map(({role}) => role)).toEqual(['standby', 'standby']);
    expect(away.servers[0]!.why).toContain('etcd');
    expect(away.durabilityNow).toBe('');
    const told = await cpfs('status', '--meta', addresses());
    expect([told.code, told.stderr]).toEqual([6, expect.stringContaining('cpfs meta status')]);
    const people = await cpfs('meta', 'status', '--meta', addresses());
    expect(people.stdout).toMatch(
      /^the coordinator has not answered any of them for \d+\.\d s, since .*: nobody can become active/m,
    );
    const lost = await cpfs('status', '--meta', `etcd://${cluster.dev.etcd!.address}`);
    expect([lost.code, lost.stderr]).toEqual([
      6,
      expect.stringMatching(/nobody says where etcd:.* is .*; name the meta servers with --meta/),
    ]);
    await cluster.do('start', 'etcd');
    expect((await untilOk()).active).not.toBeNull();
  },
  2 * MINUTES,
);

test(
  'who is started with durability disk shows it; memory without a coordinator is refused',
  async () => {
    const {startRole} = await import('../../src/roles/spawn.js');
    const start = (name: string, ...more: string[]) => {
      const folder = join(cluster.folder, name);
      const argv = ['meta', 'start', '--state', folder, '--listen', '127.0.0.1:0', ...more];
      return startRole(argv, join(cluster.folder, `${name}.log`), MINUTES);
    };
    const disk = ['--durability', 'disk'];
    const one = await start('one', ...disk);
    const first = String(one.info.address);
    const other = await start('other', ...disk, '--join', first);
    try {
      const meta = [first, String(other.info.address)].join(',');
      const shown = () => cpfs('meta', 'status', '--meta', meta, '--exit-code');
      const end = performance.now() + MINUTES;
      let told = await shown();
      for (; told.code !== 0 && performance.now() < end; told = await shown()) await delay(100);
      expect(told.stdout).toContain('durability disk: an fsync waits for the disk of the active');
      expect(told.stdout).toMatch(/standby +\d+ +follows/);
      const promoted = await cpfs('meta', 'promote', String(other.info.address));
      expect(promoted.stderr).toContain('answers without waiting for standbys');
    } finally {
      for (const {pid} of [one, other]) process.kill(pid, 'SIGKILL');
    }
    const refused = await cpfs('meta', 'start', '--durability', 'memory');
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('--coordinator')]);
  },
  2 * MINUTES,
);

test(
  'a standby without a coordinator follows, and becomes active when an administrator accepts the loss',
  async () => {
    const folder = join(cluster.folder, 'third');
    const first = (await untilOk()).active!;
    const {startRole} = await import('../../src/roles/spawn.js');
    const argv = ['meta', 'start', '--state', folder, '--listen', '127.0.0.1:0'];
    // One of a list, by the name of its host.
    argv.push('--join', `127.0.0.1:1,localhost:${first.split(':')[1]}`);
    const log = join(cluster.folder, 'third.log');
    const {pid, info} = await startRole(argv, log, MINUTES);
    try {
      const address = String(info.address);
      const end = performance.now() + MINUTES;
      const refused = async (): Promise<string> => {
        const ran = await cpfs('meta', 'promote', address);
        expect(ran.code).toBe(9);
        return ran.stderr;
      };
      while (!(await refused()).includes('nothing had been answered that it does not have'))
        expect(performance.now()).toBeLessThan(end);
      const promoted = await cpfs('meta', 'promote', address, '--accept-loss');
      expect([promoted.code, promoted.stderr]).toEqual([
        0,
        expect.stringContaining('is the active meta server now'),
      ]);
      const status = await cpfs('meta', 'status', '--meta', address, '-o', 'json');
      const told = JSON.parse(status.stdout) as MetaStatus;
      // Far above whatever the former one counts on to.
      expect([told.active, told.how, told.term > 1000]).toEqual([address, 'by hand', true]);
    } catch (error) {
      throw new Error(readFileSync(log, 'utf8').slice(-4000), {cause: error});
    } finally {
      process.kill(pid, 'SIGKILL');
    }
  },
  2 * MINUTES,
);
