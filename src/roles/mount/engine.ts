import {existsSync} from 'node:fs';
import {release} from 'node:os';
import {join} from 'node:path';
import {messageOf} from '../../core/base/errors.js';
import {fuseNative} from '../../core/os/fuse-native.js';
import {portableNative} from '../../core/os/portable-native.js';
import {CliError, EXIT} from '../cli-error.js';
import type {MountOptions} from './options.js';

export type Engine = 'kernel' | 'fuse-native';
export type EngineWanted = Engine | 'auto';

/** What this machine has, as far as it decides between engines. */
export interface EngineSystem {
  root: boolean;
  /** Of the kernel: 6.1.0-18-amd64. */
  release: string;
  hasProgram(name: string): boolean;
  /** Why the own native module cannot be loaded; null: it can. */
  channel(): string | null;
  /** The same for the package. */
  portable(): string | null;
}

export interface Chosen {
  engine: Engine;
  /** Why it is not the kernel's channel, where that was not asked for. */
  because: string | null;
}

/** The first kernel of those that speak FUSE 7.31, and that are maintained. */
const RELEASE_MIN = [5, 4] as const;

function olderThan([major, minor]: readonly [number, number], text: string): boolean {
  const [own = 0, below = 0] = text.split('.').map((part) => Number.parseInt(part, 10));
  return own < major || (own === major && below < minor);
}

/** Why the kernel's channel cannot run here; null: it can. */
export function channelRefusal(system: EngineSystem): string | null {
  if (olderThan(RELEASE_MIN, system.release))
    return `the kernel ${system.release} is older than ${RELEASE_MIN.join('.')}`;
  const missing = system.channel();
  if (missing !== null) return missing;
  if (!system.root && !system.hasProgram('fusermount3'))
    return 'fusermount3 is not here; install the package fuse3 or mount as root';
  return null;
}

/** Why fuse-native cannot run here. */
export function portableRefusal(system: EngineSystem): string | null {
  const missing = system.portable();
  if (missing !== null) return missing;
  if (!system.root && !system.hasProgram('fusermount'))
    return 'fusermount is not here; install the package fuse3 (or fuse) or mount as root';
  return null;
}

/** Why fuse-native cannot do what these options ask for. Not what is so by default only: docs/mount.md says what is different. */
export function optionsRefusal({asked, locks, allowOther}: MountOptions): string | null {
  if (asked.has('mount.locks') && locks)
    return 'locks=cluster is not possible with fuse-native, which does not tell of locks; use locks=local, or --engine kernel';
  if (asked.has('mount.allow-other') && allowOther)
    return 'allow_other is not possible with fuse-native, which does not tell who asks; leave it out, or use --engine kernel';
  return null;
}

/** CliError: what was asked for cannot be. */
export function chooseEngine(
  wanted: EngineWanted,
  options: MountOptions,
  system: EngineSystem,
): Chosen {
  const because = wanted === 'fuse-native' ? null : channelRefusal(system);
  if (wanted !== 'fuse-native' && because === null) return {engine: 'kernel', because};
  const fail = (why: string): never => {
    throw new CliError(why, EXIT.failed);
  };
  if (wanted === 'kernel') return fail(`the kernel's channel cannot run: ${because}`);
  const missing = portableRefusal(system);
  const refused = missing ?? optionsRefusal(options);
  if (refused === null) return {engine: 'fuse-native', because};
  if (wanted === 'fuse-native') {
    if (missing === null) throw new CliError(refused, EXIT.usage);
    return fail(`fuse-native cannot run: ${refused}`);
  }
  return fail(`the kernel's channel cannot run (${because}), and fuse-native neither: ${refused}`);
}

/** `options` as the engine can do them, for what was not asked for. */
export function optionsOf(engine: Engine, options: MountOptions): MountOptions {
  return engine === 'kernel' ? options : {...options, locks: false, allowOther: false};
}

const failureOf = (load: () => unknown): string | null => {
  try {
    load();
    return null;
  } catch (error) {
    return messageOf(error);
  }
};

export function engineSystem(): EngineSystem {
  const folders = (process.env.PATH || '/usr/bin:/bin:/usr/sbin:/sbin').split(':');
  return {
    root: process.getuid?.() === 0,
    release: release(),
    hasProgram: (name) => folders.some((folder) => existsSync(join(folder, name))),
    channel: () => failureOf(fuseNative),
    portable: () => failureOf(portableNative),
  };
}
