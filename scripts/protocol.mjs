// Generates the static protobuf codecs from src/core/protocol/*.proto into src/core/protocol/gen and copies the
// JavaScript to dist. Numbers, not Long: every 64-bit field of ours is below 2^53 and the decoder checks it.
import {spawnSync} from 'node:child_process';
import {copyFileSync, mkdirSync, readdirSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const protocol = join(root, 'src/core/protocol');
const generated = join(protocol, 'gen');
const compiled = join(root, 'dist/src/core/protocol/gen');
mkdirSync(generated, {recursive: true});
mkdirSync(compiled, {recursive: true});

function run(tool, args) {
  const result = spawnSync(process.execPath, [join(root, 'node_modules/protobufjs-cli/bin', tool), ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (result.status !== 0) process.exit(result.status ?? 1);
}

const sources = readdirSync(protocol)
  .filter((name) => name.endsWith('.proto'))
  .map((name) => join(protocol, name));
const flags = '--es6 --force-number --no-create --no-verify --no-convert --no-delimited --no-service --no-typeurl';
run('pbjs', [...`-t static-module -w es6 ${flags}`.split(' '), '-o', join(generated, 'messages.js'), ...sources]);
run('pbts', ['-o', join(generated, 'messages.d.ts'), join(generated, 'messages.js')]);
for (const name of ['messages.js', 'messages.d.ts']) copyFileSync(join(generated, name), join(compiled, name));
