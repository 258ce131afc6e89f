import {attrReply} from '../../namespace/setattr.js';
import type {AttrReply, OidRequest} from '../../protocol/gen/wire.js';
import type {Tx} from '../tx.js';

export function getattr(tx: Tx, q: OidRequest): AttrReply {
  return attrReply(tx.attr(q.oid));
}
