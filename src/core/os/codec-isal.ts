import type {Codec, Numbers} from '../env/codec.js';
import {COLUMNS_MAX} from '../layout/scheme.js';
import {loadNative} from './native.js';

/** native/codec/addon.cpp. */
interface Addon {
  createMemory(bytes: number): ArrayBuffer;
  crc32c(memory: ArrayBuffer | Uint8Array, offset: number, length: number, seed: number): number;
  crc32cBlocks(
    memory: ArrayBuffer | Uint8Array,
    offset: number,
    length: number,
    blockBytes: number,
    out: Uint32Array,
    outIndex: number,
  ): void;
  encode(memory: ArrayBuffer, k: number, m: number, offsets: Float64Array, length: number): void;
  reconstruct(
    memory: ArrayBuffer,
    k: number,
    m: number,
    columns: Float64Array,
    missingCount: number,
    length: number,
  ): void;
}

/** The codec on ISA-L's vector kernels (native/codec). Offsets are handed over in one array that is used again. */
export class IsalCodec implements Codec {
  readonly #addon = loadNative<Addon>('codec');
  readonly #numbers = new Float64Array(2 * COLUMNS_MAX);

  createMemory(bytes: number): ArrayBuffer {
    return this.#addon.createMemory(bytes);
  }

  crc32c(memory: ArrayBuffer | Uint8Array, offset: number, length: number, seed = 0): number {
    return this.#addon.crc32c(memory, offset, length, seed);
  }

  crc32cBlocks(
    memory: ArrayBuffer | Uint8Array,
    offset: number,
    length: number,
    blockBytes: number,
    out: Uint32Array,
    outIndex: number,
  ): void {
    this.#addon.crc32cBlocks(memory, offset, length, blockBytes, out, outIndex);
  }

  encode(
    memory: ArrayBuffer,
    k: number,
    m: number,
    sources: Numbers,
    parities: Numbers,
    length: number,
  ): void {
    if (sources.length !== k || parities.length !== m || k + m > COLUMNS_MAX) {
      throw new RangeError(`${sources.length} and ${parities.length} columns for ${k}+${m}`);
    }
    const numbers = this.#numbers;
    for (let i = 0; i < k; i++) numbers[i] = sources[i]!;
    for (let i = 0; i < m; i++) numbers[k + i] = parities[i]!;
    this.#addon.encode(memory, k, m, numbers, length);
  }

  reconstruct(
    memory: ArrayBuffer,
    k: number,
    m: number,
    present: Numbers,
    presentOffsets: Numbers,
    missing: Numbers,
    missingOffsets: Numbers,
    length: number,
  ): void {
    const count = missing.length;
    if (present.length !== k || count > m || k + m > COLUMNS_MAX) {
      throw new RangeError(`${present.length} present and ${count} missing columns for ${k}+${m}`);
    }
    if (presentOffsets.length !== k || missingOffsets.length !== count) {
      throw new RangeError('each column needs one offset');
    }
    const numbers = this.#numbers;
    for (let i = 0; i < k; i++) {
      numbers[2 * i] = present[i]!;
      numbers[2 * i + 1] = presentOffsets[i]!;
    }
    for (let i = 0; i < count; i++) {
      numbers[2 * (k + i)] = missing[i]!;
      numbers[2 * (k + i) + 1] = missingOffsets[i]!;
    }
    this.#addon.reconstruct(memory, k, m, numbers, count, length);
  }
}
