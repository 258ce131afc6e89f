import {crc32c} from '../../src/core/base/crc32c.js';
import {HEADER_BYTES} from '../../src/core/protocol/frame.js';
import {concat} from './frames.js';

type Below = (bound: number) => number;

const FIELDS = [
  {at: 0, bytes: 4},
  {at: 4, bytes: 2},
  {at: 6, bytes: 2},
  {at: 8, bytes: 4},
  {at: 12, bytes: 4},
  {at: 16, bytes: 2},
  {at: 18, bytes: 2},
  {at: 20, bytes: 4},
  {at: 24, bytes: 4},
  {at: 28, bytes: 4},
] as const;
const NASTY = [0, 1, 31, 32, 33, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 256 * 1024 + 1];

/**
 * One way of damaging a frame: flipped bits, a field with a nasty number, a cut, an insertion, bytes of elsewhere.
 * Half of the results get a right header sum again, so that what lies behind the sum is reached, too.
 */
export function mutateFrame(frame: Uint8Array, below: Below): Uint8Array {
  let bytes = concat([frame]);
  switch (below(6)) {
    case 0:
      for (let flips = 1 + below(4); flips > 0; flips--) {
        const at = below(bytes.length);
        bytes[at] = bytes[at]! ^ (1 << below(8));
      }
      break;
    case 1: {
      const field = FIELDS[below(FIELDS.length)]!;
      const value = below(2) === 0 ? NASTY[below(NASTY.length)]! : below(2 ** 32);
      const view = new DataView(bytes.buffer);
      if (field.bytes === 4) view.setUint32(field.at, value, true);
      else view.setUint16(field.at, value & 0xffff, true);
      break;
    }
    case 2:
      bytes = bytes.slice(0, below(bytes.length));
      break;
    case 3: {
      const at = below(bytes.length);
      const extra = Uint8Array.from({length: 1 + below(40)}, () => below(256));
      bytes = concat([bytes.subarray(0, at), extra, bytes.subarray(at)]);
      break;
    }
    case 4: {
      const from = below(bytes.length);
      bytes.copyWithin(below(bytes.length), from, from + below(64));
      break;
    }
    default: {
      const start = Math.min(HEADER_BYTES, bytes.length);
      for (let at = start; at < bytes.length; at += 1 + below(8)) bytes[at] = below(256);
    }
  }
  if (below(2) === 0) mendSum(bytes);
  return bytes;
}

function mendSum(bytes: Uint8Array): void {
  if (bytes.length < HEADER_BYTES) return;
  const view = new DataView(bytes.buffer);
  const end = Math.min(bytes.length, HEADER_BYTES + view.getUint32(12, true));
  view.setUint32(28, crc32c(bytes, HEADER_BYTES, end, crc32c(bytes, 0, 28)), true);
}
