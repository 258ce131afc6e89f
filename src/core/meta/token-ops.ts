import {FsError} from '../base/errors.js';
import type {Given} from '../namespace/tx.js';
import type {Empty, TokenRequest} from '../protocol/gen/wire.js';
import * as keys from './keys.js';
import type {Tx} from './tx.js';

/** A token as it is stored; nothing of it is secret. */
export interface TokenRow {
  id: string;
  token: TokenRequest;
  used: number;
  revoked: boolean;
}

/** Those that were used up, or expired, go with the next one that is made. */
const KEPT_SECONDS = 7 * 86_400;
export const TOKENS_MAX = 1_000;

const decode = (bytes: Uint8Array): TokenRow =>
  JSON.parse(Buffer.from(bytes).toString('utf8')) as TokenRow;
const put = (tx: Tx, row: TokenRow): void =>
  tx.put(keys.tokenKey(row.id), Buffer.from(JSON.stringify(row)));

export const tokenRows = (tx: Tx): TokenRow[] =>
  tx.store.range('k', keys.letterEnd('k'), TOKENS_MAX + 1).map(([, bytes]) => decode(bytes));

/** A new one, or one that is revoked. EBUSY: there are too many. */
export function tokenPut(tx: Tx, bytes: Uint8Array, {now}: Given): Empty {
  const row = decode(bytes);
  const all = tokenRows(tx);
  const old = all.filter(({token}) => token.until + KEPT_SECONDS < now.sec);
  if (all.length - old.length >= TOKENS_MAX && !all.some(({id}) => id === row.id))
    throw new FsError('EBUSY', `there are ${TOKENS_MAX} tokens`);
  for (const {id} of old) tx.del(keys.tokenKey(id));
  put(tx, row);
  return {};
}

/** Once more. EACCES: it is of no use any more, and why. */
export function tokenUse(tx: Tx, bytes: Uint8Array, {now}: Given): Empty {
  const {id} = JSON.parse(Buffer.from(bytes).toString('utf8')) as {id: string};
  const found = tx.store.get(keys.tokenKey(id));
  if (found === undefined) throw new FsError('EACCES', `there is no token ${id}`);
  const row = decode(found);
  const {token, used, revoked} = row;
  if (revoked) throw new FsError('EACCES', `token ${id} was revoked`);
  if (now.sec >= token.until) throw new FsError('EACCES', `token ${id} has expired`);
  if (used >= token.uses) throw new FsError('EACCES', `token ${id} was used ${used} times`);
  put(tx, {...row, used: used + 1});
  return {};
}
