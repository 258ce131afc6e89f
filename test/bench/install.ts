// From a machine without Node to a cluster of three, and back: `npm run test:install -- [--base FOLDER] [--small]`. Makes the packages, twice, and compares
// them, and those of the next release. In empty roots (Debian's smallest one by debootstrap, or FOLDER; with --small programs of this machine) with namespaces
// of their own the .deb is installed, a cluster begins by the commands of the README, each host loses all its processes in turn, the next release
// comes one host at a time, and the package goes; all that under programs which compare what they read. The .rpm is installed, replaced and
// removed in another root. Needs root, iproute2, rpm, debootstrap and a mirror of Debian.
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {parseArgs} from 'node:util';
import {RELEASE} from '../../src/roles/release.js';
import {shell} from '../support/dev-cluster.js';
import {InstallStory, makePackages} from '../support/install-story.js';
import {debianRoot, smallRoot} from '../support/roots.js';

const NEXT = RELEASE.replace(/\d+$/, (last) => String(Number(last) + 1));
const say = (text: string): void => void process.stdout.write(`${text}\n`);

async function timed<T>(what: string, action: () => T): Promise<T> {
  const begin = performance.now();
  const result = await action();
  say(`${((performance.now() - begin) / 1000).toFixed(1)} s: ${what}`);
  return result;
}

async function packages(folder: string, name: string, release: string): Promise<string[]> {
  const make = () => makePackages(join(folder, name), release, ['deb', 'rpm']);
  return timed(`the packages of ${release}`, make);
}

/** What is changed of the settings, and data, stay. (Nothing but the program is looked at that systems with rpm would bring.) */
async function rpms(root: string, first: string, next: string): Promise<void> {
  const version = (release: string): string =>
    `chroot ${root} /usr/bin/cpfs --version | grep -q '^cpfs/${release} '`;
  await shell(`rpm --root ${root} --nodeps -i ${first}
    ${version(RELEASE)}
    grep -q '^cpfs:' ${root}/etc/passwd
    echo changed >> ${root}/etc/cpfs/meta.conf
    mkdir -p ${root}/var/lib/cpfs/meta && touch ${root}/var/lib/cpfs/meta/there
    rpm --root ${root} --nodeps -U ${next}
    ${version(NEXT)}
    grep -q '^changed$' ${root}/etc/cpfs/meta.conf
    rpm --root ${root} -e cpfs 2>&1 | grep 'left as it is.* /var/lib/cpfs'
    test ! -e ${root}/usr/bin/cpfs && test -e ${root}/var/lib/cpfs/meta/there`);
}

async function main(): Promise<void> {
  const {values} = parseArgs({
    options: {base: {type: 'string'}, small: {type: 'boolean', default: false}},
  });
  const folder = mkdtempSync(join(tmpdir(), 'cpfs-install-'));
  const base = values.base ?? join(folder, 'base');
  const install = values.small ? 'dpkg -i --force-depends' : 'dpkg -i';
  const story = new InstallStory({folder, base, install, say});
  try {
    const made = await packages(folder, RELEASE, RELEASE);
    const again = await packages(folder, 'again', RELEASE);
    for (const [index, path] of made.entries())
      if (!readFileSync(path).equals(readFileSync(again[index]!)))
        throw new Error(`${path} and ${again[index]} differ`);
    const next = await packages(folder, NEXT, NEXT);
    if (values.small) await timed('a root of few programs', () => smallRoot(base));
    else await timed("Debian's smallest root", () => debianRoot(base));
    await story.machines();
    await story.install(made[0]!);
    await story.begin();
    for (const host of [...story.hosts].reverse()) await story.restart(host);
    await story.upgrade(next[0]!);
    await story.uninstall();
    const root = join(folder, 'rpm');
    await shell(`cp -a --reflink=auto ${base} ${root}`);
    await timed('the .rpm: installed, replaced, removed', () => rpms(root, made[1]!, next[1]!));
    say('nothing was wrong');
  } finally {
    await story.end();
    rmSync(folder, {recursive: true, force: true});
  }
}

await main();
