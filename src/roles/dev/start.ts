import {mkdirSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {cleanDeadMount} from '../../core/os/mount-point.js';
import {CliError, EXIT} from '../cli-error.js';
import {CONFIG_FOLDER} from '../config/load.js';
import {identify} from '../process.js';
import {type Started, startRole} from '../spawn.js';
import {type DevServer, type DevSettings, type DevState, metaAddresses} from './state.js';

const START_MS = 30_000;
const HOST = '127.0.0.1';
/** Of the ports of further meta servers: behind those of all data servers that there may be. */
const METAS_OFFSET = 600;

const port = (settings: DevSettings, offset: number): number =>
  settings.basePort === 0 ? 0 : settings.basePort + offset;

const logOf = (state: string, name: string): string => join(state, 'log', `${name}.log`);

function server(started: Started, index: number, folder: string, group?: number): DevServer {
  return {
    index,
    ...identify(started.pid),
    address: String(started.info.address),
    folder,
    ...(group === undefined ? {} : {group}),
  };
}

/** Starts meta server `index`; at `known` if it had an address before, so that others find it again. */
/** What is configured for this machine is for other servers than those of a dev cluster. */
const ownConfig = (dev: DevState): Record<string, string> => ({
  [CONFIG_FOLDER]: join(dev.state, 'config'),
});

export async function startMeta(dev: DevState, index: number, known?: string): Promise<DevServer> {
  const folder = join(dev.state, `meta${index}`);
  const {settings} = dev;
  const argv = [
    'meta',
    'start',
    '--state',
    folder,
    '--listen',
    known ?? `${HOST}:${port(settings, index === 1 ? 0 : METAS_OFFSET + index)}`,
  ];
  if (dev.etcd !== undefined) argv.push('--coordinator', `etcd://${dev.etcd.address}`);
  if (index > 1) argv.push('--join', dev.meta[0]!.address);
  argv.push('--scheme', settings.scheme, '--group-size', String(settings.servers));
  if (settings.outAfter !== undefined) argv.push('--out-after', String(settings.outAfter));
  return server(
    await startRole(argv, logOf(dev.state, `meta${index}`), START_MS, ownConfig(dev)),
    index,
    folder,
  );
}

export async function startData(dev: DevState, index: number, known?: string): Promise<DevServer> {
  const folder = join(dev.state, `data${index}`);
  const {groups, servers} = dev.settings;
  const group = index > groups * servers ? undefined : Math.floor((index - 1) / servers) + 1;
  const listen = known ?? `${HOST}:${port(dev.settings, index)}`;
  const argv = ['data', 'start', '--state', folder, '--listen', listen];
  argv.push(...(group === undefined ? ['--spare'] : ['--group', String(group)]));
  argv.push('--meta', metaAddresses(dev), '--domain', `dev${index}`);
  if (dev.settings.direct === true) argv.push('--direct');
  return server(
    await startRole(argv, logOf(dev.state, `data${index}`), START_MS, ownConfig(dev)),
    index,
    folder,
    group,
  );
}

export async function startMount(dev: DevState, dir: string): Promise<DevState['mounts'][number]> {
  await prepareMountPoint(dir);
  const argv = ['mount', dir, '--meta', metaAddresses(dev)];
  const started = await startRole(argv, logOf(dev.state, 'mount'), START_MS, ownConfig(dev));
  return {dir, ...identify(started.pid)};
}

/** An empty folder that can be mounted on: made if missing, a dead mount on it cleared away. */
export async function prepareMountPoint(dir: string): Promise<void> {
  await cleanDeadMount(dir);
  mkdirSync(dir, {recursive: true});
  if (readdirSync(dir).length > 0) {
    throw new CliError(`${dir} is not empty; name an empty folder to mount on`, EXIT.refused);
  }
}
