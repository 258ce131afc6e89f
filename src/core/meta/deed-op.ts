import type {Empty} from '../protocol/gen/wire.js';
import * as keys from './keys.js';
import type {Tx} from './tx.js';

/** Some months of a cluster that is looked after; 300 bytes each. */
export const DEEDS_MAX = 5_000;

/** The number of the last one; 0: there is none. */
export function lastDeed(tx: Tx): number {
  const bytes = tx.store.get(keys.DEEDS_KEY);
  return bytes === undefined ? 0 : Number(Buffer.from(bytes).toString('latin1'));
}

/** Appends what is a row of JSON; the oldest one goes. */
export function deed(tx: Tx, bytes: Uint8Array): Empty {
  const number = lastDeed(tx) + 1;
  tx.put(keys.DEEDS_KEY, Buffer.from(String(number), 'latin1'));
  tx.put(keys.deedKey(number), Uint8Array.from(bytes));
  if (number > DEEDS_MAX) tx.del(keys.deedKey(number - DEEDS_MAX));
  return {};
}
