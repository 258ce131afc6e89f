// Goal: on machines without Node the package installs, a cluster of three begins by the commands of the README, bears that a machine loses all its
// processes, and that the next release comes one machine at a time under programs; and the package goes and leaves the data. Method: namespaces with roots
// that have a few programs (`npm run test:install` has Debian's own, and restarts each machine).
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {RELEASE} from '../../src/roles/release.js';
import {run} from '../support/dev-cluster.js';
import {InstallStory, makePackages} from '../support/install-story.js';
import {smallRoot} from '../support/roots.js';

const NEXT = RELEASE.replace(/\d+$/, (last) => String(Number(last) + 1));
const MINUTES = 60_000;
const folder = mkdtempSync(join(tmpdir(), 'cpfs-install-'));
const base = join(folder, 'base');
const said: string[] = [];
const say = (text: string): void => void said.push(text);
const story = new InstallStory({folder, base, install: 'dpkg -i --force-depends', say});
let deb = '';
let next = '';

beforeAll(async () => {
  [deb] = (await makePackages(join(folder, RELEASE), RELEASE, ['deb'])) as [string];
  [next] = (await makePackages(join(folder, NEXT), NEXT, ['deb'])) as [string];
  smallRoot(base);
}, 3 * MINUTES);
afterAll(async () => {
  await story.end();
  rmSync(folder, {recursive: true, force: true});
}, MINUTES);

test('the package has what it should, and its example of settings is one', async () => {
  const {stdout} = await run('dpkg-deb', ['-c', deb]);
  const mode = (path: string) =>
    new RegExp(`^(\\S+) root/root .* \\./${path}( -> .*)?$`, 'm').exec(stdout)?.[1];
  const files = {
    'usr/bin/cpfs': '-rwxr-xr-x',
    'usr/sbin/mount.cpfs': 'lrwxrwxrwx',
    'usr/lib/systemd/system/cpfs-meta.service': '-rw-r--r--',
    'usr/lib/systemd/system/cpfs-data@.service': '-rw-r--r--',
    'usr/lib/sysusers.d/cpfs.conf': '-rw-r--r--',
    'usr/share/man/man8/cpfs-data-start.8.gz': '-rw-r--r--',
    'usr/share/man/man8/mount.cpfs.8.gz': '-rw-r--r--',
    'usr/share/man/man5/cpfs.toml.5.gz': '-rw-r--r--',
    'usr/share/bash-completion/completions/cpfs': '-rw-r--r--',
    'usr/share/zsh/vendor-completions/_cpfs': '-rw-r--r--',
    'usr/share/fish/vendor_completions.d/cpfs.fish': '-rw-r--r--',
    'usr/share/doc/cpfs/copyright': '-rw-r--r--',
    'usr/share/doc/cpfs/changelog.gz': '-rw-r--r--',
  };
  expect(Object.fromEntries(Object.keys(files).map((path) => [path, mode(path)]))).toEqual(files);
  expect((await run('dpkg-deb', ['-I', deb, 'conffiles'])).stdout.trim().split('\n')).toEqual([
    '/etc/cpfs/cpfs.toml',
    '/etc/cpfs/meta.conf',
    '/etc/cpfs/data-1.conf',
  ]);
  // libc and the runtime of C++ are Debian 12's; nothing else of Node is.
  const depends = (await run('dpkg-deb', ['-f', deb, 'Depends'])).stdout;
  expect(depends).toMatch(
    /^libc6 \(>= 2\.\d+\), libgcc-s1 \(>= [\d.]+\), libstdc\+\+6 \(>= \d+\), mount, passwd$/m,
  );
});

test(
  'three machines without Node',
  async () => {
    await story.machines();
    await story.install(deb);
    const valid = await story.client.run('cpfs config validate && cpfs --version');
    expect([valid.code, valid.stdout]).toEqual([0, expect.stringContaining(`cpfs/${RELEASE} `)]);
    await story.begin();
    await story.restart(story.hosts[2]!);
    await story.upgrade(next);
    await story.uninstall();
    expect(said.find((line) => line.startsWith('upgrade status: done'))).toBeDefined();
  },
  4 * MINUTES,
);
