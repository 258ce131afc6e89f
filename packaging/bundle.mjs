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

const inExecutable = {
  name: 'in-executable',
  setup({onLoad, onResolve}) {
    onLoad({filter: /node_modules\/etcd3\/lib\/connection-pool\.js$/}, etcdProtocol);
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
    // Names stay, for traces; and Node shows the line of an error.
    lineLimit: 160,
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: 'none',
    plugins: [inExecutable],
    define: {'import.meta.url': '"file:///cpfs/dist/cpfs.cjs"'},
    banner: {js: BANNER},
    external: ['typescript', 'pnpapi'],
    logLevel: 'warning',
    metafile: true,
  });
}
