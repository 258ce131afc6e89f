import {createHash} from 'node:crypto';

/** Bytes without any pattern, always the same ones for the same seed. */
export const noise = (length: number, seed = 5): Buffer =>
  createHash('shake256', {outputLength: length}).update(String(seed)).digest();
