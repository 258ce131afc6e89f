// Goal: a cluster stops in order and comes back with every byte, in any order of its servers; nobody takes the place of who is away by intent. Method: real processes, a mount that stays, a spare that waits for its chance.
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {cpfs, DevCluster, type Ran, shell} from '../support/dev-cluster.js';

const MINUTE = 60_000;
let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.up(
    ...['--servers', '3', '--scheme', '2+1', '--spares', '1', '--out-after', '2'],
  );
}, 120_000);
afterAll(() => cluster?.down(), 60_000);

const admin = (...args: string[]): Promise<Ran> => cpfs(...args, '--meta', cluster.meta);
const start = (...what: string[]): Promise<void> => cluster.do('start', ...what);

/** A process that nobody has reaped yet has no words any more. */
function lives(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`).length > 0;
  } catch {
    return false;
  }
}

const pids = (): number[] => [...cluster.dev.meta, ...cluster.dev.data].map(({pid}) => pid);
const seats = async (): Promise<string> =>
  (await cluster.status()).groups
    .flatMap(({slots}) => slots.map(({server, state}) => `${server} ${state}`))
    .join('\n');

describe('fault: the whole cluster stops, and servers are away by intent', () => {
  test(
    'what was written is there after a shutdown, and who boots more slowly is waited for',
    async () => {
      const file = join(cluster.mount, 'f');
      // Nobody asks for it to be on disks; the shutdown does.
      await shell(`head -c 12000000 /dev/urandom > ${file}; echo small > ${file}.s`);
      const second = await cluster.mountAgain('second');
      await shell(`head -c 5000000 /dev/urandom > ${second}/h; echo name > ${second}/n`);
      const all = `cat ${file} ${file}.s ${cluster.mount}/h ${cluster.mount}/n | sha256sum`;
      const parts = [file, `${file}.s`, `${second}/h`, `${second}/n`];
      const sum = await shell(`cat ${parts.join(' ')} | sha256sum`);
      const before = await seats();

      const asked = await admin('cluster', 'shutdown');
      expect(asked).toMatchObject({code: 9, stderr: expect.stringContaining('give --yes')});
      expect(pids().every(lives)).toBe(true);

      const servers = pids();
      const down = await admin('cluster', 'shutdown', '--yes');
      expect(down).toMatchObject({code: 0, stderr: ''});
      expect(down.stdout).toMatch(/4 data servers have stopped\n1 meta servers have stopped/);
      expect(servers.filter(lives)).toEqual([]);
      expect(lives(cluster.dev.mounts[0]!.pid)).toBe(true);
      // What only its memory had would be gone.
      process.kill(cluster.mountPid('second'), 'SIGKILL');
      const none = await admin('cluster', 'start', '--wait', '1');
      expect(none).toMatchObject({code: 6, stdout: expect.stringMatching(/no meta server/)});

      await start('meta');
      await start('data', '3');
      await start('data', '1');
      // The spare would take the slot of one that does not come back.
      await start('data', '4');
      const early = await admin('cluster', 'start', '--wait', '6');
      expect(early.code).toBe(7);
      const late = cluster.dev.data[1]!.address;
      expect(early.stdout).toBe(`waiting for data server ${late}\n`);
      expect(early.stderr).toContain('--now');
      await start('data', '2');
      const opened = await admin('cluster', 'start');
      expect(opened).toMatchObject({code: 0, stdout: expect.stringMatching(/is open\n$/)});
      await cluster.until('ready', MINUTE);
      expect(await seats()).toBe(before);
      await shell('echo 3 > /proc/sys/vm/drop_caches');
      expect(await shell(all, undefined, MINUTE)).toBe(sum);
      await shell(`echo more >> ${file}; sync ${file}`, undefined, MINUTE);
    },
    3 * MINUTE,
  );

  test(
    'nobody takes the place of a server during its maintenance, and a spare does after it',
    async () => {
      const file = join(cluster.mount, 'g');
      await shell(`head -c 3000000 /dev/urandom > ${file}; sync ${file}`);
      const begun = await admin('maintenance', 'start', '1.1', '--for', '1h', '--why', 'new fan');
      const {address} = cluster.dev.data[1]!;
      expect(begun.stdout).toBe(`maintenance of ${address} for 60 min yet: new fan\n`);
      expect((await admin('maintenance', 'start', 'nobody', '--for', '1h')).code).toBe(3);
      await cluster.do('kill', 'data', '2');
      // Twice the time after which the spare takes it.
      await new Promise((resolve) => setTimeout(resolve, 5000));
      expect(await seats()).toMatch(/ away/);
      const status = await admin('maintenance', 'status', '-o', 'json');
      expect(JSON.parse(status.stdout)).toMatchObject({
        maintenance: {servers: [address], why: 'new fan'},
      });
      expect((await admin('maintenance', 'stop')).stdout).toBe('no maintenance\n');
      await cluster.untilStatus('the spare took it', MINUTE, ({groups}) =>
        groups[0]!.slots.every(({address: at, state}) => at !== address && state === 'ready'),
      );
      const events = await admin('events', '-o', 'json');
      expect(events.stdout).toMatch(/maintenance\.began[\s\S]*maintenance\.ended/);
      await shell(`cmp ${file} ${file}`, undefined, MINUTE);
    },
    2 * MINUTE,
  );
});
