import {FsError, Refusal} from '../../base/errors.js';
import {PAYLOAD_BYTES_MAX, type Segment} from '../../base/pool.js';
import {BLOCK_BYTES} from '../../base/units.js';
import type {DeltaReply, DeltaRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import {storedSums} from '../sums.js';
import {change, checkRanges, checkRef, count, type DataContext, idOf, shapeOf} from './context.js';
import {syncSome, syncWritten} from './sync.js';

const WORD = Uint32Array.BYTES_PER_ELEMENT;

/** What a request says of one block; columns and sums in the same order. */
interface BlockDelta {
  columns: number[];
  before: number[];
  after: number[];
}

/**
 * Adds changes of data blocks to a redundancy column (DESIGN.md section 6, "Shared"). Sums are linear: that of a xor is the xor of
 * the sums. So a block's covered sums say which changes it has, and a change is applied exactly once however often it is sent.
 */
export async function delta(
  q: DeltaRequest,
  context: DataContext,
  payload: Segment | null,
): Promise<Answer<DeltaReply>> {
  const {gate, stats, store, room, env} = context;
  const refused: number[] = [];
  try {
    await gate.pass(context.session, q.ref.epoch, async () => {
      checkRef(q.ref);
      const length = checkRanges(q.ranges, PAYLOAD_BYTES_MAX);
      const blocks = checkDelta(q, context, payload, length);
      await room.take(length, q.ref.repair);
      // It has a slot already, with the payload: who waits for a second one may wait for others who do.
      const slot = env.pool.alloc(length);
      if (slot === -1) throw new Refusal('Busy', 'no room to change redundancy in');
      try {
        await change(context, q.ref, q.ranges, () =>
          store.use(idOf(q.ref), shapeOf(q.ref), true, (column) => {
            refused.length = 0;
            const memory = {at: env.pool.payload(slot), delta: payload!.offset};
            return column.update(q.ranges, slot, (sums, covered) =>
              apply(q, context, blocks, memory, {sums, covered}, refused),
            );
          }),
        );
      } finally {
        env.pool.release(slot);
      }
      count(context);
      stats.writes++;
      stats.bytesIn += length;
    });
    syncSome(context);
    if (refused.length > 0) {
      const {oid, chunk, column} = q.ref;
      env.log.warn('delta.refused', {oid, chunk, column, blocks: refused.length});
    }
    const synced = q.sync && (await syncWritten(context, idOf(q.ref)));
    return {message: {refused, synced}};
  } finally {
    if (payload !== null) env.pool.release(payload.slot);
  }
}

/** Changes blocks and sums in place. Returns the numbers of the blocks that changed. */
function apply(
  {ref, sums: added}: DeltaRequest,
  {env}: DataContext,
  blocks: readonly BlockDelta[],
  memory: {at: number; delta: number},
  column: {sums: Uint8Array; covered: Uint8Array},
  refused: number[],
): number[] {
  const {codec, pool} = env;
  const actual = storedSums(codec, pool.memory, memory.at, blocks.length * BLOCK_BYTES);
  const sums = words(column.sums);
  const covered = words(column.covered);
  const changed: number[] = [];
  for (const [index, {columns, before, after}] of blocks.entries()) {
    const at = (i: number): number => index * ref.k + columns[i]!;
    const is = (what: readonly number[]): boolean =>
      what.every((sum, i) => covered.getUint32(at(i) * WORD, true) === sum);
    const own = sums.getUint32(index * WORD, true);
    if (own === actual[index] && is(before)) {
      add(pool.memory, memory.at + index * BLOCK_BYTES, memory.delta + index * BLOCK_BYTES);
      sums.setUint32(index * WORD, (own ^ words(added).getUint32(index * WORD, true)) >>> 0, true);
      for (const [i, sum] of after.entries()) covered.setUint32(at(i) * WORD, sum, true);
      changed.push(index);
    } else if (own !== actual[index] || !is(after)) refused.push(index);
  }
  return changed;
}

const words = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** Adds one block of memory to another: xor. */
function add(memory: ArrayBuffer, to: number, from: number): void {
  const target = new Uint32Array(memory, to, BLOCK_BYTES / WORD);
  const source = new Uint32Array(memory, from, BLOCK_BYTES / WORD);
  for (let i = 0; i < target.length; i++) target[i]! ^= source[i]!;
}

/** EINVAL for what cannot be; EIO if the bytes are not those that were summed. */
function checkDelta(
  q: DeltaRequest,
  {env, stats}: DataContext,
  payload: Segment | null,
  length: number,
): BlockDelta[] {
  const {k, column} = q.ref;
  if (column < k) throw new FsError('EINVAL', `column ${column} of ${k} is no redundancy`);
  const count = length / BLOCK_BYTES;
  const ranges = q.ranges.toSorted((a, b) => a.offset - b.offset);
  if (ranges.some(({offset}, i) => i > 0 && offset < ranges[i - 1]!.offset + ranges[i - 1]!.length))
    throw new FsError('EINVAL', 'ranges overlap');
  if (payload?.length !== length || payload.offset % WORD !== 0)
    throw new FsError('EINVAL', `${payload?.length ?? 0} bytes for ranges of ${length}`);
  if (q.changed.length !== count * WORD || q.sums.length !== count * WORD)
    throw new FsError(
      'EINVAL',
      `${q.changed.length} and ${q.sums.length} bytes for ${count} blocks`,
    );
  const blocks: BlockDelta[] = [];
  let at = 0;
  const sumOf = (sums: Uint8Array, index: number): number => {
    if ((index + 1) * WORD > sums.length) throw new FsError('EINVAL', 'too few sums');
    return words(sums).getUint32(index * WORD, true);
  };
  for (let block = 0; block < count; block++) {
    const mask = words(q.changed).getUint32(block * WORD, true);
    const one: BlockDelta = {columns: [], before: [], after: []};
    for (let data = 0; data < 32; data++) {
      if (((mask >>> data) & 1) === 0) continue;
      if (data >= k) throw new FsError('EINVAL', `column ${data} of ${k} data columns`);
      one.columns.push(data);
      one.before.push(sumOf(q.before, at));
      one.after.push(sumOf(q.after, at));
      at++;
    }
    if (one.columns.length === 0) throw new FsError('EINVAL', `nothing changes in block ${block}`);
    blocks.push(one);
  }
  if (q.before.length !== at * WORD || q.after.length !== at * WORD)
    throw new FsError('EINVAL', 'too many sums');
  const actual = storedSums(env.codec, env.pool.memory, payload.offset, length);
  if (Buffer.compare(new Uint8Array(actual.buffer), q.sums) !== 0) {
    stats.sumErrors++;
    env.log.error('delta.sum-mismatch', {oid: q.ref.oid, chunk: q.ref.chunk, column});
    throw new FsError('EIO', 'the bytes do not have the sums they came with');
  }
  return blocks;
}
