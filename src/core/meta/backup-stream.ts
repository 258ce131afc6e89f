import {crc32c} from '../base/crc32c.js';
import {FsError} from '../base/errors.js';
import {HEADER_BYTES, type LogPosition, recordAt} from './log.js';

/** Length and sum of what follows, both u32, little-endian. */
const FRAME_HEADER_BYTES = 8;
/** No piece of a state is as long; a length beyond it is a damaged one. */
const FRAME_BYTES_MAX = 256 * 1024 * 1024;

/** A piece of a state, as it stands in a backup. */
export function frameOf(piece: Uint8Array): Uint8Array {
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + piece.length);
  frame.writeUInt32LE(piece.length, 0);
  frame.writeUInt32LE(crc32c(piece), 4);
  frame.set(piece, FRAME_HEADER_BYTES);
  return frame;
}

/** Bytes as they come, of which the front is taken in pieces of any length. */
class Intake {
  readonly #source: AsyncIterator<Uint8Array>;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** The next bytes, which stay; fewer: there are no more. */
  async peek(length: number): Promise<Buffer> {
    if (this.#bytes.length < length) {
      const parts: Uint8Array[] = [this.#bytes];
      for (let have = this.#bytes.length; have < length; ) {
        const next = await this.#source.next();
        if (next.done === true) break;
        parts.push(next.value);
        have += next.value.length;
      }
      this.#bytes = Buffer.concat(parts);
    }
    return this.#bytes.subarray(0, length);
  }

  drop(length: number): void {
    this.#bytes = this.#bytes.subarray(length);
  }
}

const damaged = (what: string): FsError => new FsError('EIO', what);

/** The pieces of a state. FsError EIO: one is damaged. */
export async function* piecesIn(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const intake = new Intake(source);
  for (let piece = 0; ; piece++) {
    const header = await intake.peek(FRAME_HEADER_BYTES);
    if (header.length === 0) return;
    if (header.length < FRAME_HEADER_BYTES) throw damaged(`piece ${piece} ends too soon`);
    const length = header.readUInt32LE(0);
    const sum = header.readUInt32LE(4);
    if (length > FRAME_BYTES_MAX) throw damaged(`piece ${piece} has an impossible length`);
    const frame = await intake.peek(FRAME_HEADER_BYTES + length);
    const bytes = frame.subarray(FRAME_HEADER_BYTES);
    if (bytes.length < length) throw damaged(`piece ${piece} ends too soon`);
    if (crc32c(bytes) !== sum) throw damaged(`piece ${piece} fails its sum`);
    yield bytes;
    intake.drop(FRAME_HEADER_BYTES + length);
  }
}

export interface BackupRecord extends LogPosition {
  record: Uint8Array;
}

/** Records of a log that go on behind a position. FsError EIO: one is damaged, or another one should come there. */
export async function* recordsIn(
  source: AsyncIterable<Uint8Array>,
  after: LogPosition,
): AsyncGenerator<BackupRecord> {
  const intake = new Intake(source);
  for (let {sequence, sum} = after; ; ) {
    const name = `record ${sequence + 1}`;
    const front = await intake.peek(HEADER_BYTES);
    if (front.length === 0) return;
    if (front.length < HEADER_BYTES) throw damaged(`${name} ends too soon`);
    const length = HEADER_BYTES + front.readUInt32LE(0);
    if (length > FRAME_BYTES_MAX) throw damaged(`${name} has an impossible length`);
    const record = await intake.peek(length);
    const header = recordAt(record, 0);
    if (header === null) throw damaged(`${name} ends too soon`);
    if (crc32c(record, 8, header.end) !== header.sum) throw damaged(`${name} fails its sum`);
    if (header.sequence !== sequence + 1)
      throw damaged(`${name} is missing, ${header.sequence} stands in its place`);
    if (sum !== 0 && header.before !== sum)
      throw damaged(`${name} does not continue the one before`);
    ({sequence, sum} = header);
    yield {sequence, sum, record};
    intake.drop(length);
  }
}
