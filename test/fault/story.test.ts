// Goal: work goes on while servers come and go, and the status says who is missing. Method: a day of one cluster, told with real programs.
import {existsSync, readdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {writeCProject} from '../support/c-project.js';
import {DevCluster, run, shell} from '../support/dev-cluster.js';

const MINUTES = 60_000;
const TREE = '/usr/include';
let cluster: DevCluster;
let tree: string;
let project: string;
beforeAll(async () => {
  cluster = await DevCluster.up();
  tree = join(cluster.mount, 'include');
  project = join(cluster.mount, 'project');
}, 120_000);
afterAll(() => cluster?.down(), 60_000);

const names = (dir: string): string[] => (existsSync(dir) ? readdirSync(dir) : []);

/** Waits until the work is so far; or until it has ended, so that nothing here depends on how fast it is. */
async function during(work: Promise<unknown>, far: () => boolean): Promise<void> {
  let over = false;
  const end = () => {
    over = true;
  };
  void work.then(end, end);
  while (!over && !far()) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** The addresses of data servers whose slot is not ready. */
async function notReady(): Promise<(string | null)[]> {
  const {groups} = await cluster.status();
  return groups.flatMap((g) => g.slots.filter((s) => s.state !== 'ready').map((s) => s.address));
}

test(
  'a copy of a large tree while server 2 dies and comes back',
  async () => {
    const count = readdirSync(TREE).length;
    const copy = shell(`cp -a ${TREE} ${tree}`, undefined, 5 * MINUTES);
    await during(copy, () => names(tree).length > count / 4);
    await cluster.do('kill', 'data', '2');
    await cluster.until('degraded', MINUTES);
    await during(copy, () => names(tree).length > count / 2);
    await cluster.do('start', 'data', '2');
    await copy;
    await cluster.until('ready', 2 * MINUTES);
  },
  8 * MINUTES,
);

test(
  'a compilation while server 4 stops for good',
  async () => {
    await writeCProject(project);
    const make = shell('make -j2 >make.log', project, 3 * MINUTES);
    await during(make, () => names(project).some((n) => n.endsWith('.o')));
    await cluster.do('kill', 'data', '4');
    await make;
    await cluster.until('degraded', MINUTES);
    expect(await shell(join(project, 'prog'))).toBe('300\n');
    await shell(`make -q -C ${project}`);
  },
  5 * MINUTES,
);

test(
  'without server 4 everything is there, and the status names server 4 and nobody else',
  async () => {
    writeFileSync('/proc/sys/vm/drop_caches', '3');
    await shell(`diff -r --no-dereference ${TREE} ${tree}`, undefined, 5 * MINUTES);
    const {address} = cluster.dev.data[3]!;
    expect(await notReady()).toEqual([address]);
    const {servers} = await cluster.status();
    expect(servers.filter((s) => !s.connected).map((s) => s.address)).toEqual([address]);
    const table = (await cluster.said('status')).split('\n');
    expect(table.filter((l) => /stopped/.test(l))).toEqual([expect.stringMatching(/^data 4 /)]);
    expect(table.filter((l) => /^ +slot .* away /.test(l))).toEqual([
      expect.stringContaining(address),
    ]);
    expect((await run('df', [cluster.mount])).code).toBe(0);
  },
  6 * MINUTES,
);

test(
  'server 4 comes back and catches up: nothing is left to recover, and another one may go',
  async () => {
    await cluster.do('start', 'data', '4');
    await cluster.until('ready', 3 * MINUTES);
    expect(await notReady()).toEqual([]);
    await cluster.untilStatus('nothing left to recover', MINUTES, (s) => s.recoveryLeft === 0);
    await cluster.do('kill', 'data', '1');
    await cluster.until('degraded', MINUTES);
    writeFileSync('/proc/sys/vm/drop_caches', '3');
    expect(await shell(join(project, 'prog'))).toBe('300\n');
    await shell(`diff -r --no-dereference ${TREE}/linux ${tree}/linux`, undefined, 2 * MINUTES);
  },
  8 * MINUTES,
);
