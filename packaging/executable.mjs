// Makes dist/cpfs: Node, the program as one file, and its native modules as assets, in one executable. It is pkg's SEA module that does it
// (@yao-pkg/pkg, lib-es5/sea: Node's own format for single executables) with a bundle and assets of ours.
import {execFileSync} from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import {createRequire} from 'node:module';
import {basename, join} from 'node:path';
import {bundle} from './bundle.mjs';
import {dist, root} from './tree.mjs';

const require = createRequire(import.meta.url);
const runtime = join(root, 'node_modules', `node-linux-${process.arch}`, 'bin/node');

/** Native modules by the name that loadNative asks for, and the libraries that they need and that not every system has. */
function nativeFiles() {
  const own = ['codec', 'disk', 'fuse', 'system'].map((name) => [
    `${name}.node`,
    join(root, 'native/build/Release', `${name}.node`),
  ]);
  const lmdb = require.resolve(`@lmdb/lmdb-linux-${process.arch}/node.napi.glibc.node`);
  const codec = own[0][1];
  const isal = /(libisal\.so\.\d+) => (\S+)/.exec(execFileSync('ldd', [codec], {encoding: 'utf8'}));
  if (isal === null)
    throw new Error(`${codec} does not need libisal any more; see packaging/executable.mjs`);
  return new Map([...own, ['lmdb.node', lmdb], [isal[1], realpathSync(isal[2])]]);
}

/** What the program reads of its package.json. */
function description() {
  const {name, version, description, oclif} = JSON.parse(
    readFileSync(join(root, 'package.json'), 'utf8'),
  );
  return JSON.stringify({name, version, description, oclif});
}

async function main(output) {
  mkdirSync(dist, {recursive: true});
  const work = mkdtempSync(join(dist, '.package-'));
  try {
    const program = join(work, 'cpfs.cjs');
    await bundle(program);
    const native = nativeFiles();
    const assets = Object.fromEntries(native);
    for (const [name, text] of [
      ['package.json', description()],
      ['native.json', JSON.stringify([...native.keys()])],
    ]) {
      assets[name] = join(work, name);
      writeFileSync(assets[name], text);
    }
    // Before the program is put in: afterwards it would take it away.
    const node = join(work, 'node');
    execFileSync('strip', ['--strip-unneeded', '-o', node, realpathSync(runtime)]);
    chmodSync(node, 0o755);
    const made = join(work, basename(output));
    const {default: sea} = require('@yao-pkg/pkg/lib-es5/sea.js');
    await sea(program, {
      targets: [{platform: 'linux', arch: process.arch, nodeRange: 'node24', output: made}],
      nodePath: node,
      seaConfig: {assets, useCodeCache: true},
    });
    const {version} = JSON.parse(description());
    const said = execFileSync(made, ['--version'], {encoding: 'utf8'});
    if (!said.startsWith(`cpfs/${version} `)) throw new Error(`${made} --version says: ${said}`);
    renameSync(made, output);
  } finally {
    rmSync(work, {recursive: true, force: true});
  }
}

await main(join(dist, 'cpfs'));
