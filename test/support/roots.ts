import {execFileSync} from 'node:child_process';
import {cpSync, existsSync, mkdirSync, realpathSync, symlinkSync, writeFileSync} from 'node:fs';
import {basename, dirname, join} from 'node:path';

/** What dpkg, the scripts of the package and a person need; and nothing that runs programs of JavaScript. */
const PROGRAMS = `sh env cat cp mv rm mkdir rmdir ln ls chmod chown touch stat head tail cut tr seq date sleep sync dd cmp diff
  sha256sum sed grep find tar dpkg dpkg-deb dpkg-split ldconfig start-stop-daemon useradd setpriv mount umount findmnt hostname id getent`;
const FOLDERS = [
  'dev',
  'proc',
  'sys',
  'run',
  'mnt',
  'tmp',
  'root',
  'etc',
  'var/tmp',
  'var/cache',
  'var/log',
  'srv',
];

const pathOf = (program: string): string =>
  execFileSync('sh', ['-c', `command -v ${program}`], {
    encoding: 'utf8',
    env: {PATH: '/usr/sbin:/usr/bin:/sbin:/bin'},
  }).trim();

/** The libraries that a program is linked to. */
const libraries = (file: string): string[] =>
  execFileSync('ldd', [file], {encoding: 'utf8'}).match(/\/\S+/g) ?? [];

/** A root with these programs of this machine and their libraries, and a dpkg that knows of no package. */
export function smallRoot(folder: string): void {
  for (const path of FOLDERS) mkdirSync(join(folder, path), {recursive: true});
  for (const path of ['bin', 'sbin', 'lib', 'lib64']) {
    mkdirSync(join(folder, 'usr', path), {recursive: true});
    symlinkSync(`usr/${path}`, join(folder, path));
  }
  const copied = new Set<string>();
  const copy = (path: string): void => {
    if (copied.has(path)) return;
    copied.add(path);
    mkdirSync(dirname(join(folder, path)), {recursive: true});
    cpSync(realpathSync(path), join(folder, path));
  };
  for (const program of PROGRAMS.split(/\s+/)) {
    const path = pathOf(program);
    copy(path);
    for (const library of libraries(path)) copy(library);
  }
  // The executable's own: dpkg would have brought them.
  const cxx = libraries(process.execPath).filter((path) =>
    /^lib(stdc|gcc|m\.|dl|pthread)/.test(basename(path)),
  );
  for (const library of cxx) copy(library);
  writeFileSync(join(folder, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  writeFileSync(join(folder, 'etc/group'), 'root:x:0:\n');
  writeFileSync(join(folder, 'etc/shadow'), 'root:*:19000:0:99999:7:::\n');
  for (const path of ['info', 'updates', 'triggers'])
    mkdirSync(join(folder, 'var/lib/dpkg', path), {recursive: true});
  for (const path of ['status', 'available']) writeFileSync(join(folder, 'var/lib/dpkg', path), '');
}

/** Debian's own smallest root, from its mirror. */
export function debianRoot(folder: string): void {
  if (existsSync(folder)) return;
  if (!existsSync('/usr/sbin/debootstrap'))
    throw new Error('install the package debootstrap, or name a root with --base FOLDER');
  execFileSync('debootstrap', ['--variant=minbase', 'bookworm', folder], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}
