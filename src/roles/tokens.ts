import type {JoinRole, Limits, Rights} from '../core/base/identity.js';
import {systemClock} from '../core/os/clock.js';
import {OPS} from '../core/protocol/ops.js';
import {withMeta} from './admin.js';
import {CliError, EXIT} from './cli-error.js';
import {tokenText} from './join.js';
import {readKeys} from './security.js';

/** Stable: fields are added, never changed. */
export interface TokenShown {
  id: string;
  role: string;
  /** Of the credentials that clients get; empty: that of the machine. */
  name: string;
  rights: string;
  path: string;
  /** ISO 8601. */
  until: string;
  uses: number;
  used: number;
  state: 'good' | 'used' | 'expired' | 'revoked';
}

export interface NewToken {
  role: JoinRole;
  lastsMs: number;
  uses: number;
  name: string;
  rights: Rights;
  limits: Limits | undefined;
}

/** One string, which is secret. */
export async function createToken(
  metas: string,
  timeoutMs: number,
  keys: string,
  {role, lastsMs, uses, name, rights, limits}: NewToken,
): Promise<{id: string; text: string}> {
  const ring = readKeys(keys);
  if (!ring.isServer)
    throw new CliError(`${keys} is a client's: tokens are made on a server`, EXIT.permission);
  const until = Math.ceil((systemClock.wall() + lastsMs) / 1000);
  const {path = '', squash = null, bytes = 0} = limits ?? {};
  const own = {role, until, uses, name, rights, path, bytes};
  const request = {...own, squashUid: squash?.uid ?? 0, squashGid: squash?.gid ?? 0};
  const {id, identity} = await withMeta(metas, timeoutMs, async (peer) => {
    const {message} = await peer.call(OPS.tokenCreate, request, {deadlineMs: timeoutMs});
    return message;
  });
  const secret = ring.secretOf(identity);
  if (secret === null)
    throw new CliError('the meta server uses another key than this machine has', EXIT.conflict);
  return {id, text: tokenText({identity, secret: secret.toString('base64url'), metas})};
}

export async function listTokens(metas: string, timeoutMs: number): Promise<TokenShown[]> {
  const now = systemClock.wall() / 1000;
  return withMeta(metas, timeoutMs, async (peer) => {
    const {message} = await peer.call(OPS.tokens, {}, {deadlineMs: timeoutMs});
    return message.tokens.map(({id, token, used, revoked}) => {
      const {role, name, rights, path, until, uses} = token!;
      const over = now >= until ? 'expired' : used >= uses ? 'used' : 'good';
      return {
        ...{id, role, name, rights, path, uses, used},
        until: new Date(until * 1000).toISOString(),
        state: revoked ? 'revoked' : over,
      };
    });
  });
}

export function revokeToken(metas: string, timeoutMs: number, id: string): Promise<void> {
  return withMeta(metas, timeoutMs, async (peer) => {
    await peer.call(OPS.tokenRevoke, {id}, {deadlineMs: timeoutMs});
  });
}
