import type {BufferPool} from '../../src/core/base/pool.js';
import type {FrameReader} from '../../src/core/protocol/frame.js';
import type {PlainFrame} from './frames.js';

/**
 * Plays the transport: gives the stream to a reader in pieces whose sizes `pick` chooses (1 <= size <= max), and takes
 * all frames, whose payload is copied out. Ends with the reason if there is one.
 */
export function feedReader(
  reader: FrameReader,
  pool: BufferPool,
  stream: Uint8Array,
  pick: (max: number) => number,
): {frames: PlainFrame[]; reason: string | null} {
  const frames: PlainFrame[] = [];
  let at = 0;
  for (;;) {
    const next = reader.next();
    if (typeof next === 'string') return {frames, reason: next};
    if (next !== null) {
      const {payload, ...rest} = next;
      const bytes = payload === null ? 0 : payload.length;
      const copy = Uint8Array.from(payload === null ? [] : pool.view(payload.offset, bytes));
      if (payload !== null) pool.release(payload.slot);
      frames.push({...rest, message: Uint8Array.from(rest.message), payload: copy});
      continue;
    }
    if (at === stream.length || reader.starved) return {frames, reason: null};
    const space = reader.space();
    if (space.length === 0) throw new Error('no space although next() gave null');
    const count = Math.min(pick(Math.min(space.length, stream.length - at)), space.length);
    space.set(stream.subarray(at, at + count));
    reader.filled(count);
    at += count;
  }
}
