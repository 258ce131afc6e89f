import {type ChangeRow, NAME_CHANGES, row} from '../namespace/table.js';
import {OPS, type Op} from '../protocol/ops.js';
import {mend} from './audit.js';
import {deed} from './deed-op.js';
import * as internal from './internal-ops.js';
import {flush, yieldLease} from './ops/flush.js';
import {getattr} from './ops/getattr.js';
import {getxattr} from './ops/getxattr.js';
import {layoutGet} from './ops/layout-get.js';
import {layoutSet} from './ops/layout-set.js';
import {listxattr} from './ops/listxattr.js';
import {lookup} from './ops/lookup.js';
import {open} from './ops/open.js';
import {readdir} from './ops/readdir.js';
import {readlink} from './ops/readlink.js';
import {relocate} from './ops/relocate.js';
import {removexattr} from './ops/removexattr.js';
import {setxattr} from './ops/setxattr.js';
import {tokenPut, tokenUse} from './token-ops.js';
import type {Tx} from './tx.js';

const makes = true;
const {INTERNAL} = internal;

/** By code. */
export const CHANGES: ReadonlyMap<number, ChangeRow<Tx>> = new Map<number, ChangeRow<Tx>>([
  ...NAME_CHANGES,
  row(OPS.open, open),
  row(OPS.flush, flush),
  row(OPS.yieldLease, yieldLease),
  row(OPS.setxattr, setxattr),
  row(OPS.removexattr, removexattr),
  row(OPS.layoutSet, layoutSet),
  row(OPS.relocate, relocate),
  row(OPS.mend, mend),
  row(INTERNAL.format, internal.format),
  row(INTERNAL.idRange, internal.idRange),
  row(INTERNAL.sessionCreate, internal.sessionCreate, makes),
  row(INTERNAL.sessionForget, internal.sessionForget),
  row(INTERNAL.mapPut, internal.mapPut),
  row(INTERNAL.reap, internal.reap),
  row(INTERNAL.removalDone, internal.removalDone),
  row(INTERNAL.partsRemoved, internal.partsRemoved),
  row(INTERNAL.reign, internal.reign),
  row(INTERNAL.features, internal.features),
  row(INTERNAL.tokenPut, tokenPut),
  row(INTERNAL.tokenUse, tokenUse),
  row(INTERNAL.deed, deed),
]);

export type Query = (tx: Tx, request: unknown) => unknown;

function query<Q, R>(op: Op<Q, R>, run: (tx: Tx, request: Q) => R): [number, Query] {
  return [op.code, run as Query];
}

/** By code: operations that only look. */
export const QUERIES: ReadonlyMap<number, Query> = new Map([
  query(OPS.lookup, lookup),
  query(OPS.getattr, getattr),
  query(OPS.readlink, readlink),
  query(OPS.readdir, readdir),
  query(OPS.getxattr, getxattr),
  query(OPS.listxattr, listxattr),
  query(OPS.layoutGet, layoutGet),
]);
