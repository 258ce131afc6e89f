import {spawn} from 'node:child_process';
import {closeSync, mkdirSync, openSync} from 'node:fs';
import {request} from 'node:http';
import {createServer} from 'node:net';
import {dirname} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {CliError, EXIT} from '../cli-error.js';
import {alive, identify, type ProcessId, stopProcess} from '../process.js';

const HOST = '127.0.0.1';
const START_MS = 20_000;
const LOOK_MS = 50;

export interface EtcdProcess extends ProcessId {
  /** host:port for its clients. */
  address: string;
  /** host:port for other members; it has none. */
  peers: string;
  folder: string;
}

/** Which member of a cluster of several it is, in the words of etcd's options. */
export interface EtcdMember {
  name: string;
  /** NAME=URL of all, with commas between. */
  cluster: string;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  const {port} = server.address() as {port: number};
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Starts Debian's etcd as a cluster of one, or a member, on the loopback interface alone. Rejects with a CliError that says what to do. */
export async function startEtcd(
  folder: string,
  log: string,
  known?: {address: string; peers: string},
  member?: EtcdMember,
): Promise<EtcdProcess> {
  mkdirSync(folder, {recursive: true, mode: 0o700});
  mkdirSync(dirname(log), {recursive: true});
  const address = known?.address ?? `${HOST}:${await freePort()}`;
  const peers = known?.peers ?? `${HOST}:${await freePort()}`;
  const output = openSync(log, 'a');
  const {name, cluster} = member ?? {name: 'dev', cluster: `dev=http://${peers}`};
  const argv = [
    ...['--name', name, '--data-dir', folder, '--auto-compaction-retention', '1h'],
    ...['--listen-client-urls', `http://${address}`, '--advertise-client-urls'],
    ...[`http://${address}`, '--listen-peer-urls', `http://${peers}`],
    ...['--initial-advertise-peer-urls', `http://${peers}`],
    // A member that was stopped disturbs nobody when it goes on; the default since 3.5.
    ...['--initial-cluster', cluster, '--pre-vote'],
  ];
  // Of the folder's settings, not of the environment's.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('ETCD_')),
  );
  const child = spawn('etcd', argv, {
    env,
    detached: true,
    cwd: '/',
    stdio: ['ignore', output, output],
  });
  closeSync(output);
  let failure: string | null = null;
  child.on('error', ({message}) => {
    failure = message;
  });
  child.unref();
  const until = performance.now() + START_MS;
  await delay(0);
  if (child.pid === undefined) {
    throw new CliError(
      `cannot start etcd (${failure ?? 'no process'}); install Debian's etcd-server`,
      EXIT.failed,
    );
  }
  const etcd = {...identify(child.pid), address, peers, folder};
  while (!(await healthy(address))) {
    if (failure !== null || !alive(etcd) || performance.now() > until) {
      await stopProcess(etcd, 1000);
      throw new CliError(`etcd does not start; see ${log}`, EXIT.failed);
    }
    await delay(LOOK_MS);
  }
  return etcd;
}

function healthy(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request(`http://${address}/health`, {timeout: 1000}, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    asked.on('error', () => resolve(false));
    asked.on('timeout', () => asked.destroy());
    asked.end();
  });
}
