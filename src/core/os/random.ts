import {randomBytes, randomInt} from 'node:crypto';
import type {Random} from '../env/random.js';

/** The operating system's randomness. */
export const systemRandom: Random = {
  float: () => randomBytes(6).readUIntBE(0, 6) / 2 ** 48,
  // randomInt takes less than 2^48; the meta server draws boot ids from more.
  below: (bound) => (bound < 2 ** 48 ? randomInt(bound) : Math.floor(systemRandom.float() * bound)),
  hex: (bytes) => randomBytes(bytes).toString('hex'),
};
