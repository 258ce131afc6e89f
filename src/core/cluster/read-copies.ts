import {MIB} from '../base/units.js';

/** When chunks get read copies (docs, "Read copies"): the same for all, kept by the meta server. */
export interface ReadCopyPolicy {
  /** Of one chunk at the same time; 0: none. */
  most: number;
  /** What a server reads of a chunk in a second before it gets one: bytes, and 16 KiB for each request. */
  weight: number;
  /** For so long, without a pause. */
  afterS: number;
  /** Of a server's disk, in thousandths. */
  share: number;
  /** One that nobody reads for so long goes. */
  coldS: number;
}

export const READ_COPY_POLICY: ReadCopyPolicy = {
  most: 2,
  weight: 8 * MIB,
  afterS: 5,
  share: 50,
  coldS: 600,
};

const MOST_MAX = 8;
const SHARE_MAX = 500;
const COLD_S_MIN = 5;

/** Values out of range are the nearest that are in it. */
export function sensible({most, weight, afterS, share, coldS}: ReadCopyPolicy): ReadCopyPolicy {
  return {
    most: Math.min(most, MOST_MAX),
    weight: Math.max(1, weight),
    afterS: Math.max(1, afterS),
    share: Math.min(share, SHARE_MAX),
    coldS: Math.max(COLD_S_MIN, coldS),
  };
}
