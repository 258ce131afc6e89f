// From a machine without Node to a cluster of three, and back: `npm run test:install -- [--base FOLDER] [--small]`. Makes the package, and the next
// one; in empty roots (Debian's smallest one by debootstrap, or FOLDER; with --small programs of this machine) with namespaces of their own
// it is installed, a cluster begins by the commands of the README, each host loses all its processes in turn, the next release comes one host at a time,
// and the package goes; all that under programs which compare what they read. Needs root, iproute2, debootstrap and a mirror of Debian.
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {parseArgs} from 'node:util';
import {RELEASE} from '../../src/roles/release.js';
import {InstallStory, makeDeb} from '../support/install-story.js';
import {debianRoot, smallRoot} from '../support/roots.js';

const NEXT = RELEASE.replace(/\d+$/, (last) => String(Number(last) + 1));
const say = (text: string): void => void process.stdout.write(`${text}\n`);

async function timed<T>(what: string, action: () => T): Promise<T> {
  const begin = performance.now();
  const result = await action();
  say(`${((performance.now() - begin) / 1000).toFixed(1)} s: ${what}`);
  return result;
}

async function main(): Promise<void> {
  const {values} = parseArgs({
    options: {
      base: {type: 'string'},
      small: {type: 'boolean', default: false},
    },
  });
  const folder = mkdtempSync(join(tmpdir(), 'cpfs-install-'));
  const base = values.base ?? join(folder, 'base');
  const install = values.small ? 'dpkg -i --force-depends' : 'dpkg -i';
  const story = new InstallStory({folder, base, install, say});
  try {
    const debs: string[] = [];
    for (const release of [RELEASE, NEXT]) {
      const out = join(folder, release);
      debs.push(await timed(`the package of ${release}`, () => makeDeb(out, release)));
    }
    if (values.small) await timed('a root of few programs', () => smallRoot(base));
    else await timed("Debian's smallest root", () => debianRoot(base));
    await story.machines();
    await story.install(debs[0]!);
    await story.begin();
    for (const host of [...story.hosts].reverse()) await story.restart(host);
    await story.upgrade(debs[1]!);
    await story.uninstall();
    say('nothing was wrong');
  } finally {
    await story.end();
    rmSync(folder, {recursive: true, force: true});
  }
}

await main();
