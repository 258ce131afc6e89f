import type {AttrReply, OidRequest} from '../../protocol/gen/wire.js';
import type {Tx} from '../tx.js';

export function getattr(tx: Tx, q: OidRequest): AttrReply {
  return {attr: tx.attr(q.oid)};
}
