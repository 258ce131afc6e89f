import {KIB} from './units.js';

/** Files up to this size are kept with their inodes unless a mount is told otherwise (DESIGN.md: `inline_max`). */
export const INLINE_BYTES_MAX = 16 * KIB;
/** Most inline bytes of one file that the meta server takes. */
export const INLINE_BYTES_LIMIT = 64 * KIB;
