import {hkdfSync, randomBytes} from 'node:crypto';
import {
  type Claims,
  type Identity,
  invalidLimits,
  isRights,
  type Limits,
  NAME,
} from '../base/identity.js';

/*
 * Who proves who he is shows that he has the secret of an identity, which is a text of at most 256 bytes:
 *
 *   s1:KEY            a server of the cluster
 *   c1:KEY:CLAIMS     a client; base64url of [name, rights, serial, until] as JSON, and with limits a fifth: [path, uid, gid, bytes], uid and gid 0 for none
 *
 * Its secret is HKDF-SHA256 (RFC 5869) of the cluster's key KEY and of that text. So servers know the secret of every identity without a list, and a changed text
 * has another one.
 *
 * A file of keys has a line for each: `cluster KEY SECRET`, or `client IDENTITY SECRET`, secrets as base64url of 32 bytes; # begins a comment. The first line is
 * used to dial; all clusters' keys are accepted, so that keys can be replaced one node after the other. `revoked SERIAL` takes a credential back.
 */

const SECRET_BYTES = 32;
const SERIAL = /^[0-9a-f]{12}$/;
const KEY_ID = /^[0-9a-f]{8}$/;
const IDENTITY_BYTES_MAX = 256;
const LINES_MAX = 100;
const TEXT_BYTES_MAX = 64 * 1024;

/** Who a node says he is, and what only he and servers know. */
export interface Proof {
  identity: string;
  secret: Buffer;
}

interface ClusterKey {
  id: string;
  secret: Buffer;
}

const derived = (key: ClusterKey, identity: string): Buffer =>
  Buffer.from(hkdfSync('sha256', key.secret, 'cpfs', identity, SECRET_BYTES));

const serverIdentity = (key: ClusterKey): string => `s1:${key.id}`;

/** The keys that a node has: of its cluster, or the credential of a client. */
export class Keyring {
  readonly #cluster: readonly ClusterKey[];
  readonly #own: Proof;
  readonly #revoked: ReadonlySet<string>;

  private constructor(
    cluster: readonly ClusterKey[],
    own: Proof,
    revoked: ReadonlySet<string> = new Set(),
  ) {
    this.#cluster = cluster;
    this.#own = own;
    this.#revoked = revoked;
  }

  /** Of the text of a file. Throws Error, which never quotes a secret. */
  static parse(text: string): Keyring {
    if (text.length > TEXT_BYTES_MAX) throw new Error('it is too long');
    const cluster: ClusterKey[] = [];
    const revoked = new Set<string>();
    let own: Proof | null = null;
    const lines = text.split('\n').map((line) => line.replace(/#.*/, '').trim());
    for (const [index, line] of lines.entries()) {
      if (line === '') continue;
      const [kind, id = '', encoded = '', ...more] = line.split(/\s+/);
      const secret = Buffer.from(encoded, 'base64url');
      const bad = (why: string): Error => new Error(`line ${index + 1}: ${why}`);
      if (kind === 'revoked') {
        if (!SERIAL.test(id) || encoded !== '') throw bad('it should be revoked SERIAL');
        revoked.add(id);
        continue;
      }
      if (more.length > 0 || secret.length !== SECRET_BYTES)
        throw bad('it should be KIND ID SECRET');
      if (kind === 'cluster') {
        if (!KEY_ID.test(id)) throw bad('the id of a key has 8 hexadecimal digits');
        if (cluster.some((one) => one.id === id)) throw bad(`key ${id} is there twice`);
        const key = {id, secret};
        cluster.push(key);
        const identity = serverIdentity(key);
        own ??= {identity, secret: derived(key, identity)};
      } else if (kind === 'client') {
        if (identityOf(id)?.kind !== 'client') throw bad('that is no identity of a client');
        own ??= {identity: id, secret};
      } else throw bad(`'${kind}' is neither cluster nor client`);
      if (cluster.length > LINES_MAX) throw bad('there are too many keys');
    }
    if (own === null) throw new Error('it has no key');
    return new Keyring(cluster, own, revoked);
  }

  /** What it proves when it dials. */
  get own(): Proof {
    return this.#own;
  }

  /** Does it have a key of a cluster, so that others can prove to it who they are? */
  get isServer(): boolean {
    return this.#cluster.length > 0;
  }

  get revoked(): string[] {
    return [...this.#revoked];
  }

  /** Ids of the keys of clusters, the one in use first. */
  get keys(): string[] {
    return this.#cluster.map(({id}) => id);
  }

  /** Why nobody is to be let in as that one, `now` in seconds since 1970; null: he is. */
  refusal(identity: Identity, now: number): string | null {
    if (identity.kind === 'server') return null;
    const {serial, until} = identity;
    if (this.#revoked.has(serial)) return 'the credential was revoked';
    return until !== 0 && now >= until ? 'the credential has expired' : null;
  }

  /** Null: nobody has such a one, as far as these keys tell. */
  secretOf(identity: string): Buffer | null {
    if (identityOf(identity) === null) return null;
    const key = this.#cluster.find(({id}) => id === identity.split(':')[1]);
    return key === undefined ? null : derived(key, identity);
  }

  /** The line of a file that makes its holder that client. Throws Error: these are no keys of a cluster, or the claims are none. */
  issue(claims: Claims): string {
    const [key] = this.#cluster;
    if (key === undefined) throw new Error('only who has a key of the cluster makes credentials');
    const {name, rights, serial, until, limits} = claims;
    const wrong = limits === undefined ? null : invalidLimits(limits);
    if (wrong !== null) throw new Error(wrong);
    const more =
      limits === undefined
        ? []
        : [[limits.path, limits.squash?.uid ?? 0, limits.squash?.gid ?? 0, limits.bytes]];
    const text = JSON.stringify([name, rights, serial, until, ...more]);
    const identity = `c1:${key.id}:${Buffer.from(text).toString('base64url')}`;
    if (identity.length > IDENTITY_BYTES_MAX)
      throw new Error('the name and the folder are too long together');
    if (identityOf(identity) === null) throw new Error('these are no claims');
    return `client ${identity} ${derived(key, identity).toString('base64url')}`;
  }
}

/** The line of a file with a new key of a cluster. */
export function newClusterKey(): string {
  const id = randomBytes(4).toString('hex');
  return `cluster ${id} ${randomBytes(SECRET_BYTES).toString('base64url')}`;
}

export const newSerial = (): string => randomBytes(6).toString('hex');

/** Whom a text stands for, proved or not; null: nobody. */
export function identityOf(text: string): Identity | null {
  if (text.length > IDENTITY_BYTES_MAX) return null;
  const [version, key = '', encoded, ...more] = text.split(':');
  if (!KEY_ID.test(key) || more.length > 0) return null;
  if (version === 's1') return encoded === undefined ? {kind: 'server'} : null;
  if (version !== 'c1' || encoded === undefined) return null;
  const claims = claimsOf(Buffer.from(encoded, 'base64url').toString());
  return claims === null ? null : {kind: 'client', ...claims};
}

function claimsOf(text: string): Claims | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return null;
  }
  if (!Array.isArray(parsed) || parsed.length < 4 || parsed.length > 5) return null;
  const [name, rights, serial, until, more] = parsed as unknown[];
  if (typeof name !== 'string' || !NAME.test(name)) return null;
  if (typeof rights !== 'string' || !isRights(rights)) return null;
  if (typeof serial !== 'string' || !SERIAL.test(serial)) return null;
  if (typeof until !== 'number' || !Number.isSafeInteger(until) || until < 0) return null;
  if (parsed.length === 4) return {name, rights, serial, until};
  const limits = limitsOf(more);
  // What an administrator does is not confined.
  return limits === null || rights === 'admin' ? null : {name, rights, serial, until, limits};
}

function limitsOf(parsed: unknown): Limits | null {
  if (!Array.isArray(parsed) || parsed.length !== 4) return null;
  const [path, uid, gid, bytes] = parsed as unknown[];
  if (typeof path !== 'string' || typeof bytes !== 'number') return null;
  if (typeof uid !== 'number' || typeof gid !== 'number') return null;
  const limits = {path, squash: uid === 0 && gid === 0 ? null : {uid, gid}, bytes};
  return invalidLimits(limits) === null ? limits : null;
}
