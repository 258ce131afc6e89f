import {FsError} from '../../base/errors.js';
import {type ChangeRow, NAME_CHANGES} from '../../namespace/table.js';
import {validTime} from '../../namespace/times.js';
import type {Given, NameTx} from '../../namespace/tx.js';
import type {Change, Refused} from '../../protocol/gen/wire.js';
import type {Tx} from '../tx.js';

const NO_BYTES = new Uint8Array(0);
/** What was decoded to be looked at need not be decoded again to be carried out. */
const decoded = new WeakMap<Change, unknown>();

/** The request of a change as its operation takes it. EINVAL: there is no such operation, or it is not one of its requests. */
export function requestOf(change: Change): {row: ChangeRow<NameTx>; request: unknown} {
  const row = NAME_CHANGES.get(change.code);
  if (row === undefined) throw new FsError('EINVAL', `a change by operation ${change.code}`);
  let request = decoded.get(change);
  if (request === undefined) {
    try {
      request = row.op.request.decode(change.request);
    } catch {
      throw new FsError('EINVAL', `a ${row.op.name} that cannot be read`);
    }
    const wrong = row.op.request.check(request as never);
    if (wrong !== null) throw new FsError('EINVAL', wrong);
    decoded.set(change, request);
  }
  return {row, request};
}

/** What a client has done under its leases, in its order. One that cannot be done is passed over, and told. */
export function applyChanges(tx: Tx, changes: readonly Change[], given: Given): Refused[] {
  const refused: Refused[] = [];
  for (const [index, change] of changes.entries()) {
    const before = tx.changes;
    try {
      const {row, request} = requestOf(change);
      const {oid, groups} = change;
      if (row.makes) checkId(tx, oid);
      const now = validTime(change.now) ? change.now : given.now;
      row.run(tx, request, {now, oid, groups, payload: NO_BYTES});
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      tx.refused(before);
      refused.push({index, status: error.number});
    }
  }
  return refused;
}

/** Reserved for somebody, and not used. */
function checkId(tx: Tx, oid: number): void {
  if (!Number.isSafeInteger(oid) || oid <= 0 || oid >= tx.idsBelow)
    throw new FsError('EINVAL', `object ${oid} was not reserved`);
  if (tx.exists(oid)) throw new FsError('EEXIST', `object ${oid}`);
}
