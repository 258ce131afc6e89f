import {existsSync, mkdirSync, writeFileSync} from 'node:fs';
import {hostname} from 'node:os';
import {dirname, join} from 'node:path';
import {FsError, messageOf, Refusal} from '../core/base/errors.js';
import type {Identity} from '../core/base/identity.js';
import {BufferPool, poolBytes} from '../core/base/pool.js';
import {silentLog} from '../core/env/log.js';
import {systemClock} from '../core/os/clock.js';
import {identityOf, Keyring} from '../core/os/keyring.js';
import {TcpNet} from '../core/os/net-tcp.js';
import {OPS} from '../core/protocol/ops.js';
import {Peer} from '../core/transport/peer.js';
import {CliError, EXIT} from './cli-error.js';
import {CONFIG_FOLDER} from './config/load.js';
import {securitySettings} from './config/security-settings.js';
import {findMetas} from './find-metas.js';
import {giveToServers} from './keys.js';
import {OWN_RELEASE} from './release.js';
import {KEYS_FILE, readKeys} from './security.js';

const PREFIX = 'cpfs1.';
const TOKEN = /^cpfs1\.[A-Za-z0-9_-]{20,4000}$/;
const TIMEOUT_MS = 10_000;

/** What one string says: who is proved to be there, by what, and where. */
export interface TokenText {
  identity: string;
  secret: string;
  metas: string;
}

export const isToken = (text: string): boolean => text.startsWith(PREFIX);

export const tokenText = ({identity, secret, metas}: TokenText): string =>
  PREFIX + Buffer.from(JSON.stringify([identity, secret, metas])).toString('base64url');

/** CliError: it is none. Never says what is in it. */
export function parseToken(text: string): TokenText & {token: Identity & {kind: 'token'}} {
  const none = new CliError(
    "that is no token; 'cpfs token create' prints one, which begins with cpfs1.",
    EXIT.usage,
  );
  if (!TOKEN.test(text)) throw none;
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(text.slice(PREFIX.length), 'base64url').toString());
  } catch {
    throw none;
  }
  if (!Array.isArray(parsed) || parsed.length !== 3) throw none;
  const [identity, secret, metas] = parsed as unknown[];
  if (typeof identity !== 'string' || typeof secret !== 'string' || typeof metas !== 'string')
    throw none;
  const token = identityOf(identity);
  if (token?.kind !== 'token') throw none;
  return {identity, secret, metas, token};
}

/** Where the keys of this node are, or are to be. */
const ownKeys = (): string => securitySettings().keys ?? KEYS_FILE;

/**
 * Makes this machine a node: fetches its keys and writes them, and where the meta servers are. A machine that has keys already stays what it is. CliError says what is
 * wrong; the token is used up only when the keys were given.
 */
export async function joinBy(text: string): Promise<{metas: string; notes: string[]}> {
  const {identity, secret, metas, token} = parseToken(text);
  const path = ownKeys();
  if (existsSync(path)) {
    readKeys(path);
    return {metas, notes: [`${path} is there: this machine has joined before`]};
  }
  const keys = await fetchKeys(`token ${identity} ${secret}`, metas);
  const notes: string[] = [];
  Keyring.parse(keys);
  try {
    mkdirSync(dirname(path), {recursive: true});
    writeFileSync(path, keys, {mode: 0o600, flag: 'wx'});
    if (token.role !== 'client') giveToServers(path);
  } catch (error) {
    throw new CliError(
      `cannot write ${path} (${messageOf(error)}); the token ${token.id} is used: make another one`,
      EXIT.failed,
    );
  }
  notes.push(`${path} are the keys of this ${token.role === 'client' ? 'client' : 'server'}`);
  const config = join(process.env[CONFIG_FOLDER] ?? '/etc/cpfs', 'cpfs.toml');
  if (existsSync(config)) notes.push(`${config} is left as it is; the meta servers are ${metas}`);
  else {
    mkdirSync(dirname(config), {recursive: true});
    writeFileSync(config, `[client]\nmeta = ${JSON.stringify(metas)}\n`, {mode: 0o644});
    notes.push(`${config} says where the meta servers are`);
  }
  return {metas, notes};
}

async function fetchKeys(line: string, metas: string): Promise<string> {
  const security = {keys: Keyring.parse(line), floor: 'encrypt', refusal: () => null} as const;
  const shape = {small: 8, medium: 0, large: 0};
  const pool = new BufferPool(new ArrayBuffer(poolBytes(shape)), shape);
  const env = {clock: systemClock, pool, log: silentLog, release: OWN_RELEASE};
  let last: unknown = null;
  for (const address of await findMetas(metas, TIMEOUT_MS)) {
    let peer: Peer | null = null;
    try {
      const net = new TcpNet(pool, silentLog, null, security);
      peer = new Peer(env, await net.connect(address, TIMEOUT_MS));
      await peer.hello({role: 'join', name: hostname()}, {deadlineMs: TIMEOUT_MS});
      const {message} = await peer.call(OPS.join, {name: hostname()}, {deadlineMs: TIMEOUT_MS});
      return message.keys;
    } catch (error) {
      if (error instanceof FsError && error.errno !== 'EIO')
        throw new CliError(
          `the cluster does not take this token: ${error.detail}`,
          EXIT.permission,
        );
      last = error instanceof Refusal && error.kind === 'NotActive' ? (last ?? error) : error;
    } finally {
      peer?.close('done');
    }
  }
  throw new CliError(
    `no meta server at ${metas} takes this token (${messageOf(last)}); is it of another cluster, or expired?`,
    EXIT.unavailable,
  );
}
