// What is inside the executable, and under which terms: the text of /usr/share/doc/cpfs/copyright.
import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {root} from './tree.mjs';

/** The folder of the package that a file of node_modules is of. */
const packageOf = (path) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0];

function npmPackage(folder) {
  const {name, version, license} = JSON.parse(
    readFileSync(join(root, folder, 'package.json'), 'utf8'),
  );
  const file = readdirSync(join(root, folder))
    .sort()
    .find((one) => /^(licen[cs]e|copying)/i.test(one));
  const text =
    file === undefined ? `License: ${license}` : readFileSync(join(root, folder, file), 'utf8');
  return {name: `${name} ${version}`, text};
}

/** Of libraries of the system that native modules carry, as Debian writes it. */
function library(name, debian) {
  const file = `/usr/share/doc/${debian}/copyright`;
  return {name, text: existsSync(file) ? readFileSync(file, 'utf8') : 'see its sources'};
}

export function licences(metafile) {
  const folders = new Set(Object.keys(metafile.inputs).flatMap((path) => packageOf(path) ?? []));
  const native = ['lmdb', 'node-addon-api'].map((name) => `node_modules/${name}`);
  const node = `node_modules/node-linux-${process.arch}`;
  const parts = [
    {...npmPackage(node), name: `Node.js ${npmPackage(node).name.split(' ')[1]}`},
    ...[...new Set([...folders, ...native])].sort().map(npmPackage),
    library('ISA-L (libisal)', 'libisal2'),
    library('liburing', 'liburing-dev'),
  ];
  const line = '-'.repeat(79);
  return [
    'cpfs: Copyright its authors. Its sources name no license.',
    '',
    'The executable holds the following, too, each under terms of its own:',
    ...parts.map(({name}) => `  ${name}`),
    ...parts.flatMap(({name, text}) => [
      '',
      line,
      name,
      line,
      '',
      text.replaceAll('\r', '').trim(),
    ]),
    '',
  ].join('\n');
}
