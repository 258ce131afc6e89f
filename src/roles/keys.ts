import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import {dirname} from 'node:path';
import {messageOf} from '../core/base/errors.js';
import type {Limits, Rights} from '../core/base/identity.js';
import {systemClock} from '../core/os/clock.js';
import {identityOf, Keyring, newClusterKey, newSerial} from '../core/os/keyring.js';
import {CliError, EXIT} from './cli-error.js';
import {KEYS_FILE, readKeys} from './security.js';

/** What a file of keys is, without its secrets. */
export interface KeysShown {
  path: string;
  /** Ids, the one that is dialled with first; empty: a client's file. */
  cluster: string[];
  client: {
    name: string;
    rights: Rights;
    serial: string;
    until: number;
    limits: Limits | null;
  } | null;
  revoked: string[];
}

/** A new file with the key of a new cluster. CliError: there is one. */
export function makeCluster(path: string): void {
  if (existsSync(path))
    throw new CliError(
      `${path} is there already; if it is of a cluster that is in use, 'cpfs auth rotate' begins to replace its key`,
      EXIT.conflict,
    );
  mkdirSync(dirname(path), {recursive: true});
  writeFileSync(path, `${HEAD}${newClusterKey()}\n`, {mode: 0o600, flag: 'wx'});
  giveToServers(path);
}

/** Servers that systemd runs are the user cpfs, which the packages make; root may read it all the same. */
export function giveToServers(path: string): void {
  if (path !== KEYS_FILE || process.getuid!() !== 0) return;
  const user = /^cpfs:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'));
  if (user !== null) chownSync(path, Number(user[1]), Number(user[2]));
}

const HEAD = '# Keys of a cpfs cluster. Whoever has this file is a server of it: keep it secret.\n';

export function showKeys(path: string): KeysShown {
  const keys = readKeys(path);
  const own = identityOf(keys.own.identity);
  const client = own?.kind === 'client' ? own : null;
  return {
    path,
    cluster: keys.keys,
    client:
      client === null
        ? null
        : {
            name: client.name,
            rights: client.rights,
            serial: client.serial,
            until: client.until,
            limits: client.limits ?? null,
          },
    revoked: keys.revoked,
  };
}

/** The file of a client, as text. `lastsSeconds` 0: for ever. */
export function issue(
  path: string,
  name: string,
  rights: Rights,
  lastsSeconds: number,
  limits?: Limits,
): string {
  const keys = readKeys(path);
  const now = Math.floor(systemClock.wall() / 1000);
  const until = lastsSeconds === 0 ? 0 : now + lastsSeconds;
  try {
    const serial = newSerial();
    return `# cpfs client ${name}, ${rights}, serial ${serial}\n${keys.issue({name, rights, serial, until, ...(limits === undefined ? {} : {limits})})}\n`;
  } catch (error) {
    throw new CliError(`${path}: ${messageOf(error)}`, EXIT.usage);
  }
}

/** A new key, which is accepted from then on, and not used yet. Its id. */
export function addKey(path: string): string {
  if (!readKeys(path).isServer)
    throw new CliError(`${path} is a client's: ask for a new credential instead`, EXIT.usage);
  const line = newClusterKey();
  change(path, (text) => `${text.trimEnd()}\n${line}\n`);
  return line.split(' ')[1]!;
}

/** What is proved from now on is proved by this key. CliError: it is not there. */
export function useKey(path: string, id: string): void {
  const {keys} = readKeys(path);
  if (!keys.includes(id)) throw unknownKey(path, id);
  if (keys[0] === id) return;
  change(path, (text) => {
    const lines = text.split('\n');
    const at = lines.findIndex((line) => line.trim().startsWith('cluster '));
    const from = lines.findIndex((line) => line.trim().startsWith(`cluster ${id} `));
    const [line] = lines.splice(from, 1);
    lines.splice(at, 0, line!);
    return lines.join('\n');
  });
}

const unknownKey = (path: string, id: string): CliError =>
  new CliError(`${path} has no key ${id}; 'cpfs auth show' lists them`, EXIT.notFound);

/** Whoever proves himself by it is not let in any more. CliError: it is not there, or it is the one in use. */
export function forget(path: string, id: string): void {
  const {keys} = readKeys(path);
  if (!keys.includes(id)) throw unknownKey(path, id);
  if (keys[0] === id)
    throw new CliError(`key ${id} is the one in use; use another one first`, EXIT.refused);
  change(path, (text) =>
    text
      .split('\n')
      .filter((line) => !line.trim().startsWith(`cluster ${id} `))
      .join('\n'),
  );
}

export function revoke(path: string, serial: string): void {
  const keys = readKeys(path);
  if (!keys.isServer) throw new CliError(`${path} is a client's`, EXIT.usage);
  if (!/^[0-9a-f]{12}$/.test(serial))
    throw new CliError(`a serial has 12 hexadecimal digits, not '${serial}'`, EXIT.usage);
  if (keys.revoked.includes(serial)) return;
  change(path, (text) => `${text.trimEnd()}\nrevoked ${serial}\n`);
}

/** Whole or not at all; what cannot be read by servers is not written. */
function change(path: string, by: (text: string) => string): void {
  const text = by(readFileSync(path, 'utf8'));
  Keyring.parse(text);
  const made = `${path}.new`;
  writeFileSync(made, text, {mode: 0o600});
  chmodSync(made, 0o600);
  // Whose it was: servers that cannot read it go on with what they know.
  const {uid, gid} = statSync(path);
  chownSync(made, uid, gid);
  renameSync(made, path);
}
