import {FsError} from '../../base/errors.js';
import {BLOCK_BYTES} from '../../base/units.js';
import {CHUNK_BYTES_MAX} from '../../layout/scheme.js';
import type {WatchReply, WatchRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import {count, type DataContext} from './context.js';

/**
 * What has changed of an object since the last pass of whoever moves it. Under the gate: what nobody has noted here was not written under an epoch
 * up to that of the request.
 */
export function watch(q: WatchRequest, context: DataContext): Promise<Answer<WatchReply>> {
  const {gate, changes, intents, session} = context;
  return gate.pass(session, q.epoch, async () => {
    count(context);
    const {oid, generation, pieceBytes, piecesPerChunk} = q;
    const beyond = pieceBytes * piecesPerChunk > 2 * CHUNK_BYTES_MAX;
    if (pieceBytes < BLOCK_BYTES || pieceBytes % BLOCK_BYTES !== 0 || piecesPerChunk < 1 || beyond)
      throw new FsError('EINVAL', `pieces of ${pieceBytes} bytes, ${piecesPerChunk} in a chunk`);
    const all = changes.pieces.pass(`${session} ${q.watch}`, q.pass, q);
    const doubt = intents.doubtedAny(oid, generation);
    if (all === null) return {message: {known: false, doubt}};
    return {
      message: {known: true, doubt, pieces: all.map((piece, i) => piece - (all[i - 1] ?? 0))},
    };
  });
}
