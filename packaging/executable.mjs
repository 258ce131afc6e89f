// Node, the program as one file, and its native modules as assets, in one executable. It is pkg's SEA module that does it
// (@yao-pkg/pkg, lib-es5/sea: Node's own format for single executables) with a bundle and assets of ours.
import assert from 'node:assert/strict';
import {execFileSync} from 'node:child_process';
import {chmodSync, mkdirSync, realpathSync, renameSync, writeFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {basename, join} from 'node:path';
import {promisify} from 'node:util';
import {bundle} from './bundle.mjs';
import {PACKAGE, root} from './tree.mjs';

const require = createRequire(import.meta.url);
export const runtime = join(root, 'node_modules', `node-linux-${process.arch}`, 'bin/node');

/** Native modules by the name that loadNative asks for, and the libraries that they need and that not every system has. */
export function nativeFiles() {
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

/**
 * V8 draws a number when it starts, and orders by it what the code cache has. It is given one, so that the same sources make the same bytes. (This flag is not among those that a cache
 * has to agree on with who uses it.)
 */
function seaOfPkg() {
  const processes = require('node:child_process');
  const {execFile} = processes;
  const plain = promisify(execFile);
  const seeded = (args) =>
    args.includes('--experimental-sea-config') ? ['--random-seed=1', ...args] : args;
  processes.execFile = Object.assign(() => assert.fail('pkg calls execFile in another way'), {
    [promisify.custom]: (file, args, ...more) => plain(file, seeded(args), ...more),
  });
  try {
    return require('@yao-pkg/pkg/lib-es5/sea.js').default;
  } finally {
    processes.execFile = execFile;
  }
}

/** What the program reads of its package.json. */
function description(version) {
  const {name, description, oclif} = PACKAGE;
  return JSON.stringify({name, version, description, oclif});
}

/** Makes the executable `output` of the release `version`, in the folder `work`. Resolves with what the bundle is made of, as esbuild says it. */
export async function makeExecutable({output, version, work}) {
  mkdirSync(work, {recursive: true});
  const program = join(work, 'cpfs.cjs');
  const {metafile} = await bundle(program);
  const native = nativeFiles();
  const assets = Object.fromEntries(native);
  for (const [name, text] of [
    ['package.json', description(version)],
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
  const sea = seaOfPkg();
  // It works in a folder of its own there. The path of the program is in what it makes: so that it is always the same, it is said from there.
  process.env.TMPDIR = work;
  await sea(program, {
    targets: [{platform: 'linux', arch: process.arch, nodeRange: 'node24', output: made}],
    nodePath: node,
    seaConfig: {assets, useCodeCache: true, main: '../cpfs.cjs'},
  });
  const said = execFileSync(made, ['--version'], {encoding: 'utf8'});
  if (!said.startsWith(`cpfs/${version} `)) throw new Error(`${made} --version says: ${said}`);
  renameSync(made, output);
  return metafile;
}
