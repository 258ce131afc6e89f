import {randomBytes, randomInt} from 'node:crypto';
import type {Random} from '../env/random.js';

/** Asking the operating system costs much more than a few bytes do. */
let ahead = Buffer.alloc(0);
let used = 0;

function take(bytes: number): Buffer {
  if (used + bytes > ahead.length) {
    ahead = randomBytes(4096);
    used = 0;
  }
  used += bytes;
  return ahead.subarray(used - bytes, used);
}

/** The operating system's randomness. */
export const systemRandom: Random = {
  float: () => take(6).readUIntBE(0, 6) / 2 ** 48,
  // randomInt takes less than 2^48; the meta server draws boot ids from more.
  below: (bound) => (bound < 2 ** 48 ? randomInt(bound) : Math.floor(systemRandom.float() * bound)),
  hex: (bytes) => randomBytes(bytes).toString('hex'),
};
