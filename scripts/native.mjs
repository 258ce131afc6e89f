// Builds native/ with node-gyp against the headers of the runtime that the lock file pins. Calling node-gyp
// through its own script keeps it from looking for headers on the network.
import {spawnSync} from 'node:child_process';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const runtime = join(root, 'node_modules', `node-linux-${process.arch}`);
const result = spawnSync(
  process.execPath,
  [
    join(root, 'node_modules/node-gyp/bin/node-gyp.js'),
    'rebuild',
    '--directory',
    join(root, 'native'),
    '--nodedir',
    runtime,
    '--loglevel',
    'warn',
    '--jobs',
    '2',
  ],
  {encoding: 'utf8'},
);
if (result.status !== 0) {
  process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}`);
  process.exit(result.status ?? 1);
}
