// Goal: a server that stays away is made up for without anybody's doing, and what it lacked lies on the spare. Method: real processes, SIGKILL, the other copy taken away afterwards.
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {cpfs, DevCluster, type Ran, shell} from '../support/dev-cluster.js';

const MINUTE = 60_000;
let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.up(
    '--servers',
    '2',
    '--scheme',
    '1+1',
    '--spares',
    '2',
    '--out-after',
    '2',
  );
}, 120_000);
afterAll(() => cluster?.down(), 60_000);

const admin = (...args: string[]): Promise<Ran> => cpfs(...args, '--meta', cluster.meta);

describe('fault: servers without a slot (SEEDS 6.4 point 20; C94)', () => {
  test(
    'one copies a server that is drained while programs write, one takes the slot of a server that stays away',
    async () => {
      const file = join(cluster.mount, 'f');
      await shell(`head -c 20000000 /dev/urandom > ${file}; sync ${file}`);
      const [first, second, third] = cluster.dev.data.map(({address}) => address);
      const list = await admin('data', 'list');
      expect(list.stdout).toMatch(new RegExp(`1\\.0 +ready +${first} +dev1 `));
      expect(list.stdout).toMatch(new RegExp(`- +waiting +${third} +dev3 `));
      expect(await admin('data', 'replace', '1.0')).toMatchObject({
        code: 4,
        stderr: expect.stringMatching(/in service; stop it first/),
      });

      const writer = shell(
        `for i in $(seq 1 40); do
           dd if=/dev/urandom of=${file} bs=8k seek=$((i * 50)) count=3 conv=notrunc,fsync status=none
           dd if=/dev/urandom of=${file}.$i bs=100k count=3 conv=fsync status=none
         done`,
        undefined,
        MINUTE,
      );
      const drained = await admin('data', 'drain', first!, '--wait');
      expect(drained).toMatchObject({code: 0, stdout: ''});
      expect((await admin('data', 'list')).stdout).not.toContain(first);
      await writer;
      const sum = await shell(`cat ${file}* | sha256sum`);
      await cluster.do('kill', 'data', '1');
      const again = await cpfs('dev', 'start', 'data', '1', '--state', cluster.state);
      expect(again.code).not.toBe(0);
      expect(again.stderr).toMatch(/its slot was given to another server/);

      // Now only the one that has copied it has it.
      await cluster.do('kill', 'data', '2');
      await shell('echo 3 > /proc/sys/vm/drop_caches');
      expect(await shell(`cat ${file}* | sha256sum`, undefined, MINUTE)).toBe(sum);
      await cluster.untilStatus(
        'the slot is filled',
        MINUTE,
        ({groups, waiting}) =>
          groups[0]!.slots.every(({state, address}) => state === 'ready' && address !== second) &&
          waiting.length === 0,
      );
      expect((await admin('data', 'replace', second!)).code).toBe(3);
      await shell('echo 3 > /proc/sys/vm/drop_caches');
      expect(await shell(`cat ${file}* | sha256sum`, undefined, MINUTE)).toBe(sum);
    },
    3 * MINUTE,
  );
});
