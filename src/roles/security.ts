import {existsSync, readFileSync, statSync} from 'node:fs';
import {parseAddress} from '../core/base/address.js';
import {messageOf} from '../core/base/errors.js';
import {type Identity, isLevel, LEVELS, type Level} from '../core/base/identity.js';
import type {Log} from '../core/env/log.js';
import {systemClock} from '../core/os/clock.js';
import type {Security} from '../core/os/handshake.js';
import {identityOf, Keyring} from '../core/os/keyring.js';
import {CliError, EXIT} from './cli-error.js';
import {securitySettings} from './config/security-settings.js';

/** Used where it is there and nothing else is named. */
export const KEYS_FILE = '/etc/cpfs/keys';
/** So often a changed file is noticed. */
const LOOK_MS = 1_000;
/** Nobody else may read it. */
const OTHERS = 0o077;

/** A file of keys, as it is now. */
class KeysFile implements Security {
  readonly floor: Level;
  readonly #path: string;
  #keys: Keyring;
  #version: string;
  #lookedAt = 0;

  constructor(path: string, floor: Level) {
    this.#path = path;
    this.floor = floor;
    this.#version = versionOf(path);
    this.#keys = readKeys(path);
  }

  /** Keys are replaced while servers run. A file that is damaged changes nothing. */
  get keys(): Keyring {
    const now = systemClock.now();
    if (now - this.#lookedAt < LOOK_MS) return this.#keys;
    this.#lookedAt = now;
    try {
      const version = versionOf(this.#path);
      if (version !== this.#version) this.#keys = readKeys(this.#path);
      this.#version = version;
    } catch {
      // The next look finds it whole again, or `cpfs auth show` says what is wrong.
    }
    return this.#keys;
  }

  refusal(identity: Identity): string | null {
    return this.keys.refusal(identity, systemClock.wall() / 1000);
  }
}

function versionOf(path: string): string {
  const {ino, size, mtimeMs} = statSync(path);
  return `${ino} ${size} ${mtimeMs}`;
}

/** Throws CliError: it cannot be used. */
export function readKeys(path: string): Keyring {
  try {
    const {mode} = statSync(path);
    if ((mode & OTHERS) !== 0)
      throw new Error(`others than its owner may read it; run 'chmod 600 ${path}'`);
    return Keyring.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    const other = (error as NodeJS.ErrnoException).code === 'EACCES';
    const next = other
      ? "; servers that systemd runs are the user cpfs: 'chown cpfs:' gives it to them"
      : '';
    throw new CliError(`cannot use the keys in ${path}: ${messageOf(error)}${next}`, EXIT.usage);
  }
}

/** The file of keys of this node; empty: it has none. */
export const keysPath = (): string =>
  securitySettings().keys ?? (existsSync(KEYS_FILE) ? KEYS_FILE : '');

/** Servers refuse whatever this node changes. */
export function readsOnly(security: Security | null): boolean {
  const own = security === null ? null : identityOf(security.keys.own.identity);
  return own?.kind === 'client' && own.rights === 'ro';
}

/**
 * What this node proves of itself and wants to have proved: by the settings security.keys, a file of keys, and security.level, the lowest level that it bears. Null: nothing, as
 * there are no keys. Throws CliError.
 */
export function nodeSecurity(): Security | null {
  const {level: given} = securitySettings();
  const level = given ?? 'auth';
  const path = keysPath();
  if (!isLevel(level))
    throw new CliError(`CPFS_SECURITY must be ${LEVELS.join(', ')}, not '${level}'`, EXIT.usage);
  if (path !== '') return new KeysFile(path, level);
  if (given !== undefined)
    throw new CliError(
      `CPFS_SECURITY needs keys: make them with 'cpfs init', or name them with CPFS_KEYS`,
      EXIT.usage,
    );
  return null;
}

/** Whoever runs servers without keys that others can reach is told what that means. */
export function hintWithoutKeys(log: Log, address: string): void {
  const {host = ''} = parseAddress(address) ?? {};
  if (host === 'localhost' || host === '::1' || host.startsWith('127.')) return;
  if (nodeSecurity() !== null) return;
  log.warn('keys.none', {
    address,
    hint: "whoever reaches this port reads and writes everything: make keys with 'cpfs init', and copy them to all nodes",
  });
}
