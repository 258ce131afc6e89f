import type {Attr, AttrReply, OidRequest} from '../../protocol/gen/wire.js';
import type {Tx} from '../tx.js';

export function getattr(tx: Tx, q: OidRequest): AttrReply {
  return attrReply(tx.attr(q.oid));
}

/** What may be cached of it is the handler's to fill in. */
export const attrReply = (attr: Attr): AttrReply => ({attr, lease: 0, under: 0});
