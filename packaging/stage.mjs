// Lays out what a package has: the same for each family but for where shells look, and what is written for that family.
import {execFileSync} from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import {basename, dirname, join} from 'node:path';
import {gzipSync} from 'node:zlib';
import {changelogOf} from './changelog.mjs';
import {licences} from './licences.mjs';
import {writePages} from './man.mjs';
import {root} from './tree.mjs';

/** Edited by administrators: never overwritten. */
export const CONFIGURATION = ['cpfs.toml', 'meta.conf', 'data-1.conf'].map(
  (name) => `etc/cpfs/${name}`,
);
const ZSH = {
  deb: 'usr/share/zsh/vendor-completions/_cpfs',
  rpm: 'usr/share/zsh/site-functions/_cpfs',
};
const COMPLETIONS = (family) => ({
  bash: 'usr/share/bash-completion/completions/cpfs',
  zsh: ZSH[family],
  fish: 'usr/share/fish/vendor_completions.d/cpfs.fish',
});
const DOC = 'usr/share/doc/cpfs';

/** All below a folder, sorted; folders before what is in them. */
export function everything(folder, below = '') {
  const entries = readdirSync(join(folder, below), {withFileTypes: true});
  return entries
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(below, entry.name);
      return [{path, entry}, ...(entry.isDirectory() ? everything(folder, path) : [])];
    });
}

export async function stage({files, family, executable, metafile, version, date}) {
  const write = (path, content, mode = 0o644) => {
    mkdirSync(join(files, dirname(path)), {recursive: true});
    writeFileSync(join(files, path), content);
    chmodSync(join(files, path), mode);
  };
  const copy = (from, path) => write(path, readFileSync(join(root, from)));
  // Without a name and a date inside, which gzip takes from nowhere here.
  const zipped = (path, content) => write(`${path}.gz`, gzipSync(content, {level: 9}));

  mkdirSync(join(files, 'usr/bin'), {recursive: true});
  copyFileSync(executable, join(files, 'usr/bin/cpfs'));
  chmodSync(join(files, 'usr/bin/cpfs'), 0o755);
  mkdirSync(join(files, 'usr/sbin'));
  symlinkSync('../bin/cpfs', join(files, 'usr/sbin/mount.cpfs'));

  for (const unit of ['cpfs-meta.service', 'cpfs-data@.service'])
    copy(`packaging/systemd/${unit}`, `usr/lib/systemd/system/${unit}`);
  copy('packaging/systemd/sysusers.conf', 'usr/lib/sysusers.d/cpfs.conf');
  for (const path of CONFIGURATION) copy(`packaging/conf/${basename(path)}`, path);
  for (const [shell, path] of Object.entries(COMPLETIONS(family)))
    write(path, execFileSync(executable, ['completion', shell]));

  const pages = join(files, '.pages');
  await writePages(pages, version);
  for (const page of readdirSync(pages))
    zipped(`usr/share/man/man8/${page}`, readFileSync(join(pages, page)));
  rmSync(pages, {recursive: true});
  for (const page of ['packaging/mount.cpfs.8', 'packaging/man/cpfs.toml.5'])
    zipped(`usr/share/man/man${page.at(-1)}/${basename(page)}`, readFileSync(join(root, page)));

  const changelog = readFileSync(join(root, 'packaging/changelog'), 'utf8');
  zipped(`${DOC}/changelog`, changelogOf(changelog, version, date));
  write(`${DOC}/copyright`, licences(metafile));
  copy('README.md', `${DOC}/README.md`);
  for (const page of readdirSync(join(root, 'docs'))) copy(`docs/${page}`, `${DOC}/${page}`);
  copy('packaging/grafana/cpfs.json', `${DOC}/examples/grafana.json`);
  copy('packaging/prometheus/cpfs.rules.yml', `${DOC}/examples/prometheus.rules.yml`);

  for (const {path, entry} of everything(files).reverse()) {
    if (entry.isDirectory()) chmodSync(join(files, path), 0o755);
    lutimesSync(join(files, path), date, date);
  }
  chmodSync(files, 0o755);
  lutimesSync(files, date, date);
}
