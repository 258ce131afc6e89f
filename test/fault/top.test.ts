// Goal: `cpfs top` on a real terminal shows a cluster, does what keys say, follows the size of the terminal, says when the meta server is gone, and leaves the
// terminal as it was; and who knows nothing of a cluster learns from it which server died. Method: tmux, with a meta server that is none, then a real cluster.
import {join} from 'node:path';
import {afterEach, expect, test} from '@jest/globals';
import {DevCluster, run} from '../support/dev-cluster.js';
import {fakeMeta} from '../support/fake-meta.js';
import {ROOT} from '../support/source-tree.js';
import {Tmux} from '../support/tmux.js';

const CPFS = join(ROOT, 'bin/cpfs');
const WAIT_MS = 15_000;
const cleanUp: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const clean of cleanUp.splice(0).reverse()) await clean();
}, 60_000);

function terminal(): Tmux {
  const tmux = new Tmux();
  cleanUp.push(() => tmux.close());
  return tmux;
}

test('keys, sizes, an end of the meta server, and the terminal afterwards', async () => {
  const meta = await fakeMeta(40, 3);
  cleanUp.push(() => meta.close());
  const tmux = terminal();
  await tmux.start(`${CPFS} top --meta ${meta.address}`, 80, 24);
  const first = await tmux.until(/1\.3 10\.0\.0\.3:7401 \(host3\) away 60 s/, WAIT_MS);
  expect(first.split('\n')).toHaveLength(25);
  expect(first).toMatch(/\[Servers 40\]/);
  expect(first).toMatch(/\? help {2}q quit\n$/);
  expect(await tmux.screen('-e')).toMatch(/31m.*away 60 s/);
  await tmux.keys('/', '8.4', 'Enter');
  await tmux.until(/\[Servers 1 \/8\.4\]/, WAIT_MS);
  await tmux.keys('Enter');
  await tmux.until(/Server a0000027, slot 8\.4/, WAIT_MS);
  await tmux.keys('Escape');
  await tmux.until(/\[Servers 1/, WAIT_MS);
  await tmux.keys('Tab');
  await tmux.until(/\[Clients 3\]/, WAIT_MS);
  await tmux.resize(140, 40);
  const large = await tmux.until(/codes +domain/, WAIT_MS);
  expect(large.split('\n')).toHaveLength(41);
  await tmux.resize(30, 8);
  await tmux.until(/^40x10 at least/, WAIT_MS);
  await tmux.resize(80, 24);
  await meta.close();
  const alone = await tmux.until(/what is below is \d+ s old/, WAIT_MS);
  expect(alone).toMatch(/NO ANSWER {2}for \d+ s: .*cannot be reached/);
  await tmux.keys('q');
  await tmux.until(/^ended 0 isig icanon/m, WAIT_MS);
}, 60_000);

test.each(['C-c', 'TERM'])(
  'the terminal is as it was after %s',
  async (how) => {
    const tmux = terminal();
    await tmux.start(`${CPFS} top --meta 127.0.0.1:1`, 80, 24);
    await tmux.until(/NO ANSWER.*cannot be reached/, WAIT_MS);
    if (how === 'TERM') process.kill(await tmux.child(), 'SIGTERM');
    else await tmux.keys('C-c');
    await tmux.until(/^ended \d+ isig icanon/m, WAIT_MS);
  },
  30_000,
);

test('without a terminal it says what to do; without colours there are none', async () => {
  const said = await run(CPFS, ['top', '--meta', '127.0.0.1:1']);
  expect(said).toEqual({
    code: 2,
    stdout: '',
    stderr: 'cpfs: this is no terminal; use --once or --json\n',
  });
  const meta = await fakeMeta(5, 1);
  cleanUp.push(() => meta.close());
  const tmux = terminal();
  await tmux.start(`NO_COLOR=1 ${CPFS} top --meta ${meta.address}`, 80, 24);
  await tmux.until(/WARNING/, WAIT_MS);
  expect(await tmux.screen('-e')).not.toContain('\x1b');
  const view = await run(CPFS, ['top', '--json', '--meta', meta.address]);
  expect(JSON.parse(view.stdout)).toMatchObject({
    version: 1,
    health: 'warning',
    outlook: {missing: [{group: 1, slot: 3, state: 'away'}]},
    servers: {length: 5},
  });
}, 60_000);

test('a server of a real cluster dies: the screen says which, what is at risk, and when it is over', async () => {
  const cluster = DevCluster.create();
  cleanUp.push(() => cluster.down());
  await cluster.start();
  const tmux = terminal();
  await tmux.start(`${CPFS} top --meta ${cluster.meta}`, 80, 24);
  await tmux.until(/OK {2}all is well/, WAIT_MS);
  await cluster.do('kill', 'data', '3');
  const died = await tmux.until(/missing: +1\.2 .* \(dev3\) away/, WAIT_MS);
  expect(died).toMatch(/at risk: +group 1 bears no more loss/);
  expect(died).toMatch(/safe again: when it is started again/);
  await cluster.do('start', 'data', '3');
  await tmux.until(/OK {2}all is well/, WAIT_MS);
}, 60_000);
