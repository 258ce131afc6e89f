// The package for Debian and its likes, of the files that stage.mjs has laid out.
import {execFileSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import {chmodSync, lutimesSync, mkdirSync, readFileSync, statSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {nativeFiles, runtime} from './executable.mjs';
import {CONFIGURATION, everything} from './stage.mjs';
import {PACKAGE, root} from './tree.mjs';

const ARCHITECTURE = {x64: 'amd64', arm64: 'arm64'}[process.arch];

const common = readFileSync(join(root, 'packaging/scripts/common.sh'), 'utf8');
const script = (cases) => `#!/bin/sh\nset -e\n${common}\ncase "$1" in\n${cases}\nesac\n`;
const SCRIPTS = {
  postinst: script('configure) installed "$2" ;;'),
  prerm: script('remove) stop_servers ;;'),
  postrm: script(
    'remove) removed ;;\npurge) forget_units; rm -rf /var/log/cpfs; say_what_is_left ;;',
  ),
};

/** Which packages have the libraries, in the versions that are needed. */
function libraries(work) {
  mkdirSync(join(work, 'shlibdeps/debian'), {recursive: true});
  writeFileSync(
    join(work, 'shlibdeps/debian/control'),
    'Source: cpfs\n\nPackage: cpfs\nArchitecture: any\n',
  );
  // What it is made of, since it says no more of itself. ISA-L is carried along.
  const parts = [runtime, ...nativeFiles().values()].flatMap((file) => ['-e', file]);
  const args = ['-O', '-xlibisal2', ...parts];
  const said = execFileSync('dpkg-shlibdeps', args, {
    cwd: join(work, 'shlibdeps'),
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return /^shlibs:Depends=(.*)$/m.exec(said)[1];
}

function control(version, depends, kibibytes) {
  return `Package: cpfs
Version: ${version}
Architecture: ${ARCHITECTURE}
Maintainer: cpfs maintainers <maintainers@cpfs.invalid>
Installed-Size: ${kibibytes}
Depends: ${depends}, mount, passwd
Recommends: fuse3
Section: admin
Priority: optional
Description: ${PACKAGE.description.split(':')[0].replace(/^One/, 'one')}
 A few Linux servers become one file system. Files are striped with parity or
 copies over groups of data servers, so that the loss of a server loses nothing
 and stops nobody; any number of clients mount it through FUSE and see each
 other's completed operations at once. One executable runs every role.
`;
}

export function makeDeb({files, work, out, version, date}) {
  const all = everything(files);
  const plain = all.filter(({entry}) => entry.isFile()).map(({path}) => path);
  const md5 = (path) =>
    createHash('md5')
      .update(readFileSync(join(files, path)))
      .digest('hex');
  // As policy 5.6.20 has it: each file in whole KiB, 1 for all else.
  const size = (path) => Math.ceil(statSync(join(files, path)).size / 1024);
  const kibibytes = plain.reduce((sum, path) => sum + size(path), all.length - plain.length);
  const folder = join(files, 'DEBIAN');
  mkdirSync(folder);
  const parts = {
    control: control(version, libraries(work), kibibytes),
    conffiles: CONFIGURATION.map((path) => `/${path}\n`).join(''),
    md5sums: plain
      .filter((path) => !CONFIGURATION.includes(path))
      .map((path) => `${md5(path)}  ${path}\n`)
      .join(''),
    ...SCRIPTS,
  };
  for (const [name, text] of Object.entries(parts)) {
    writeFileSync(join(folder, name), text);
    chmodSync(join(folder, name), name in SCRIPTS ? 0o755 : 0o644);
    lutimesSync(join(folder, name), date, date);
  }
  lutimesSync(folder, date, date);
  chmodSync(folder, 0o755);
  const made = join(out, `cpfs_${version}_${ARCHITECTURE}.deb`);
  execFileSync('dpkg-deb', ['--root-owner-group', '-Zzstd', '-z9', '--build', files, made], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return made;
}
