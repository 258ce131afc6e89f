import {existsSync, mkdirSync, readFileSync, renameSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {CliError, EXIT} from '../cli-error.js';
import {alive, type ProcessId} from '../process.js';
import type {EtcdProcess} from './etcd.js';

/** What `dev up` was asked for; kept, so that `dev start` starts the same. */
export interface DevSettings {
  groups: number;
  servers: number;
  scheme: string;
  /** Absent: not. */
  direct?: boolean;
  /** Data servers without a slot; absent: none. */
  spares?: number;
  /** Seconds; absent: the default. */
  outAfter?: number;
  /** Meta servers; absent: one. Of several, an etcd decides which one is active. */
  metas?: number;
  basePort: number;
}

export interface DevServer extends ProcessId {
  /** As in `dev kill data 3`; from 1. */
  index: number;
  address: string;
  folder: string;
  group?: number;
}

export interface DevMount extends ProcessId {
  dir: string;
}

/** DIR/dev.json: an interface that other tools read. `version` grows when a field changes its meaning. */
export interface DevState {
  version: 1;
  state: string;
  settings: DevSettings;
  meta: DevServer[];
  etcd?: EtcdProcess;
  data: DevServer[];
  mounts: DevMount[];
}

const file = (state: string): string => join(state, 'dev.json');

export function readDev(state: string): DevState | null {
  if (!existsSync(file(state))) return null;
  try {
    const dev = JSON.parse(readFileSync(file(state), 'utf8')) as DevState;
    if (dev.version !== 1) throw new Error(`version ${dev.version}`);
    return dev;
  } catch (error) {
    throw new CliError(
      `${file(state)} cannot be read (${error instanceof Error ? error.message : error}); name another --state, or remove it if no process of it runs`,
      EXIT.failed,
    );
  }
}

export function needDev(state: string): DevState {
  const dev = readDev(state);
  if (dev === null) {
    throw new CliError(
      `no dev cluster in ${state}; start one with 'cpfs dev up --state ${state} --mount DIR'`,
      EXIT.notFound,
    );
  }
  return dev;
}

export function writeDev(dev: DevState): void {
  mkdirSync(dev.state, {recursive: true});
  const aside = `${file(dev.state)}.new`;
  writeFileSync(aside, `${JSON.stringify(dev, null, 2)}\n`);
  renameSync(aside, file(dev.state));
}

export const running = (dev: DevState): ProcessId[] =>
  [...dev.mounts, ...dev.data, ...dev.meta, ...etcdOf(dev)].filter(alive);

export const etcdOf = ({etcd}: DevState): EtcdProcess[] => (etcd === undefined ? [] : [etcd]);

/** For `--meta`. */
export const metaAddresses = ({meta}: DevState): string =>
  meta.map(({address}) => address).join(',');
