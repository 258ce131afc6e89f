import {OPS, type Op} from '../protocol/ops.js';
import {create} from './create.js';
import {link} from './link.js';
import {mkdir} from './mkdir.js';
import {mknod} from './mknod.js';
import {rename} from './rename.js';
import {setattr} from './setattr.js';
import {symlink} from './symlink.js';
import type {Given, NameTx} from './tx.js';
import {unlink} from './unlink.js';

/** An operation that changes a state `T`: synchronous, reads and refuses first, then writes. */
export interface ChangeRow<T> {
  readonly op: Op<unknown, unknown>;
  /** It may make an object (or session), for which an id is given. */
  readonly makes: boolean;
  readonly run: (tx: T, request: unknown, given: Given) => unknown;
}

export function row<T, Q, R>(
  op: Op<Q, R>,
  run: (tx: T, request: Q, given: Given) => R,
  makes = false,
): [number, ChangeRow<T>] {
  return [op.code, {op: op as Op<unknown, unknown>, makes, run: run as ChangeRow<T>['run']}];
}

const makes = true;

/** By code: what a client that holds the directories for writing may carry out itself. */
export const NAME_CHANGES: ReadonlyMap<number, ChangeRow<NameTx>> = new Map([
  row(OPS.create, create, makes),
  row(OPS.mkdir, mkdir, makes),
  row(OPS.mknod, mknod, makes),
  row(OPS.symlink, symlink, makes),
  row(OPS.link, link),
  row(OPS.unlink, unlink),
  row(OPS.rename, rename),
  row(OPS.setattr, setattr),
]);
