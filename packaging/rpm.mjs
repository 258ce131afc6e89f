// The package for systems with rpm, of the files that stage.mjs has laid out.
import {execFileSync} from 'node:child_process';
import {copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {basename, join} from 'node:path';
import {gunzipSync} from 'node:zlib';
import {rpmChangelog} from './changelog.mjs';
import {nativeFiles, runtime} from './executable.mjs';
import {CONFIGURATION, everything} from './stage.mjs';
import {PACKAGE, root} from './tree.mjs';

const ARCHITECTURE = {x64: 'x86_64', arm64: 'aarch64'}[process.arch];
const common = readFileSync(join(root, 'packaging/scripts/common.sh'), 'utf8');

/** The newest symbol versions that the parts want of a library of the system, as rpm names them. */
function symbolVersions() {
  const newest = new Map();
  const number = (version) =>
    version.split('.').reduce((sum, part) => sum * 1000 + Number(part), 0) *
    (version.split('.').length < 3 ? 1000 : 1);
  for (const file of [runtime, ...nativeFiles().values()]) {
    const said = execFileSync('objdump', ['-p', file], {encoding: 'utf8'});
    for (const [, name, version] of said.matchAll(/\b(GLIBC|GLIBCXX)_([\d.]+)\b/g)) {
      const known = newest.get(name);
      if (known === undefined || number(version) > number(known)) newest.set(name, version);
    }
  }
  const library = {GLIBC: 'libc.so.6', GLIBCXX: 'libstdc++.so.6'};
  return [...newest].map(([name, version]) => `${library[name]}(${name}_${version})(64bit)`);
}

/** A line of %files. Folders of others are not ours. */
function listed({path, entry}) {
  if (entry.isDirectory())
    return /^(etc\/cpfs|usr\/share\/doc\/cpfs(\/.*)?)$/.test(path) ? [`%dir /${path}`] : [];
  if (CONFIGURATION.includes(path)) return [`%config(noreplace) /${path}`];
  return [`${path.startsWith('usr/share/doc/') ? '%doc ' : ''}/${path}`];
}

/** rpm would strip the finished executable, which takes the program out of it, zip pages again, and look for what it needs, which it does not say. */
const spec = ({files, version}) => `
%global __os_install_post %{nil}
%global debug_package %{nil}
%global _build_id_links none
Name: cpfs
Version: ${version}
Release: 1
Summary: ${PACKAGE.description.split(':')[0]}
License: See /usr/share/doc/cpfs/copyright
AutoReqProv: no
Requires: ${symbolVersions().join(', ')}, libgcc_s.so.1()(64bit), util-linux
Requires(post): /usr/sbin/useradd
Recommends: fuse3

%description
A few Linux servers become one file system. Files are striped with parity or
copies over groups of data servers, so that the loss of a server loses nothing
and stops nobody; any number of clients mount it through FUSE and see each
other's completed operations at once. One executable runs every role.

%install
cp -a ${files}/. %{buildroot}/

%post
${common}
if [ "$1" -gt 1 ]; then installed before; else installed ''; fi

%preun
${common}
if [ "$1" -eq 0 ]; then stop_servers; fi

%postun
${common}
if [ "$1" -eq 0 ]; then removed; forget_units; say_what_is_left; else reload_units; fi

%files
%defattr(-,root,root,-)
${everything(files).flatMap(listed).join('\n')}

%changelog
${rpmChangelog(gunzipSync(readFileSync(join(files, 'usr/share/doc/cpfs/changelog.gz'))).toString())}
`;

export function makeRpm({files, work, out, version}) {
  const top = join(work, 'rpmbuild');
  mkdirSync(top);
  writeFileSync(join(top, 'cpfs.spec'), spec({files, version}));
  const defines = {
    _topdir: top,
    _buildhost: 'localhost',
    use_source_date_epoch_as_buildtime: 1,
    clamp_mtime_to_source_date_epoch: 1,
    _binary_payload: 'w9.zstdio',
  };
  const args = Object.entries(defines).flatMap(([name, value]) => ['--define', `${name} ${value}`]);
  execFileSync('rpmbuild', [...args, '--target', ARCHITECTURE, '-bb', join(top, 'cpfs.spec')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const [name] = readdirSync(join(top, 'RPMS', ARCHITECTURE));
  const made = join(out, basename(name));
  copyFileSync(join(top, 'RPMS', ARCHITECTURE, name), made);
  return made;
}
