// Goal: when machines lose power, what was fsynced is there, what was not is old, new or EIO, and the cluster gets whole by itself
// (C130, C134, 6.4 points 1, 4 and 17). Method: real servers, each with a local file system of its own on a disk that loses what was not
// flushed, whole or in part, or torn. `npm run power` does it for longer.
import {afterEach, expect, test} from '@jest/globals';
import {PowerCluster} from '../support/power-cluster.js';
import {canCutPower} from '../support/power-disks.js';
import {PowerStory} from '../support/power-story.js';

const may = (await canCutPower()) ? test : test.skip;
const MINUTES = 60_000;

let after: (() => Promise<void>) | null = null;
afterEach(async () => {
  await after?.();
  after = null;
}, 2 * MINUTES);

may(
  'servers that have just been made start again, wherever in their first writes the power went',
  async () => {
    const cluster = await PowerCluster.up({servers: 1, scheme: '1+0'});
    after = () => cluster.down();
    // The local file systems have the files by then, but not what is in them.
    expect(await cluster.cut(cluster.all, 3, 10)).toMatch(/^cut/);
    await cluster.on(cluster.all);
    await cluster.whole(MINUTES);
  },
  2 * MINUTES,
);

may(
  'all servers lose power under programs that write',
  async () => {
    const told: string[] = [];
    const story = await PowerStory.begin(5, (line) => told.push(line));
    after = () => story.end();
    await story.round('servers');
    expect(told.at(-1)).toEqual(expect.stringMatching(/^servers: cut \d+ \d+ \d+; [1-9]\d* calls/));
  },
  3 * MINUTES,
);
