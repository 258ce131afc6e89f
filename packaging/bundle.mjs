// All of cpfs as one CommonJS file: what an executable of Node can run. Packages that look for files of their own at run time are
// given them here; the build fails if the text that is replaced is not there any more.
import {readFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {build} from 'esbuild';
import protobuf from 'protobufjs';
import {root} from './tree.mjs';

/** etcd3 reads the protocol of etcd from a file beside it. */
function etcdProtocol({path}) {
  const proto = join(dirname(path), '../proto/rpc.proto');
  // At once, so that its parts are in the same order each time.
  const schema = new protobuf.Root().loadSync(proto, {keepCase: true});
  const text = readFileSync(path, 'utf8');
  const loads = /\.loadSync\)\(`[^`]*proto\/rpc\.proto`,/;
  if (!loads.test(text)) throw new Error(`${path} loads no rpc.proto any more; see bundle.mjs`);
  const contents = text.replace(loads, () => `.fromJSON)(${JSON.stringify(schema.toJSON())},`);
  return {contents, loader: 'js', resolveDir: dirname(path)};
}

/** The text of a file with others in place of some pieces, which must be there. */
function replaced(path, ...pieces) {
  let contents = readFileSync(path, 'utf8');
  for (const [find, by] of pieces) {
    if (!contents.includes(find))
      throw new Error(`${path} has no '${find}' any more; see bundle.mjs`);
    contents = contents.replace(find, () => by);
  }
  return {contents, loader: 'js', resolveDir: dirname(path)};
}

/** A program of CommonJS has no await on top, with which Ink's layout waits for its WebAssembly: whoever draws waits for `ready`. */
const YOGA = `
import loadYoga from '../binaries/yoga-wasm-base64-esm.js';
import wrapAssembly from './wrapAssembly.js';
let yoga;
export const ready = loadYoga().then((assembly) => { yoga = wrapAssembly(assembly); });
export default new Proxy({}, {get: (_, name) => yoga[name]});
export * from './generated/YGEnums.js';
`;

function yogaLayout({path}) {
  replaced(path, ['const Yoga = wrapAssembly(await loadYoga());', '']);
  return {contents: YOGA, loader: 'js', resolveDir: dirname(path)};
}

const inExecutable = {
  name: 'in-executable',
  setup({onLoad, onResolve}) {
    onLoad({filter: /node_modules\/etcd3\/lib\/connection-pool\.js$/}, etcdProtocol);
    onLoad({filter: /node_modules\/yoga-layout\/dist\/src\/index\.js$/}, yogaLayout);
    onLoad({filter: /node_modules\/ink\/build\/reconciler\.js$/}, ({path}) =>
      // For those who develop Ink.
      replaced(path, ['await loadPackageJson()', '{}'], ["await import('./devtools.js')", '{}']),
    );
    onLoad({filter: /dist\/src\/roles\/console\/terminal\.js$/}, ({path}) =>
      replaced(path, [
        'const layoutReady = () => Promise.resolve();',
        "const layoutReady = async () => { await (await import('yoga-layout')).ready; };",
      ]),
    );
    // lmdb finds its native module as ours do; what msgpackr has is for speed only, and not used.
    onResolve({filter: /^node-gyp-build-optional-packages$/}, () => ({
      path: 'lmdb',
      namespace: 'native',
    }));
    onResolve({filter: /^msgpackr-extract$/}, () => ({path: 'none', namespace: 'native'}));
    onLoad({filter: /^none$/, namespace: 'native'}, () => ({
      contents: 'module.exports = undefined;',
    }));
    onLoad({filter: /^lmdb$/, namespace: 'native'}, () => ({
      contents: `const {loadNative} = require('./native.js'); module.exports = () => loadNative('lmdb');`,
      resolveDir: join(root, 'dist/src/core/os'),
    }));
  },
};

const BANNER = [
  // Node gives a program in an executable a require for its own modules only, and warns when another one is asked for.
  'require = require("node:module").createRequire("/");',
  // A user that the system has no entry for, as in a container: oclif asks for his home and shell before anything else.
  'try { require("node:os").userInfo(); } catch { process.env.HOME ??= "/"; process.env.SHELL ??= "/bin/sh"; }',
].join('\n');

export async function bundle(outfile) {
  return build({
    entryPoints: [join(root, 'dist/src/cli.js')],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    absWorkingDir: root,
    // Paths are in what is made: those below this folder, wherever node_modules lies.
    preserveSymlinks: true,
    // Names stay, for traces; and Node shows the line of an error.
    lineLimit: 160,
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: 'none',
    plugins: [inExecutable],
    define: {
      'import.meta.url': '"file:///cpfs/dist/cpfs.cjs"',
      'process.env.NODE_ENV': '"production"',
    },
    banner: {js: BANNER},
    external: ['typescript', 'pnpapi'],
    logLevel: 'warning',
    metafile: true,
  });
}
