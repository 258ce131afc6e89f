import {FUSE_MAJOR, FUSE_MINOR, FUSE_MINOR_MIN, INIT, INIT_IN, INIT_OUT, INIT2} from './abi.js';

/** What a mount asks of the kernel; what the kernel does not know it does not give, see `Negotiated`. */
export interface InitOptions {
  /** Sum of INIT bits that are wanted, beyond REQUIRED. */
  flags: number;
  /** Sum of INIT2 bits that are wanted. */
  flags2: number;
  maxReadaheadBytes: number;
}

export interface Negotiated {
  minor: number;
  flags: number;
  flags2: number;
  maxReadaheadBytes: number;
}

// Without these the data path is not what the rest of the door assumes: 1 MiB requests, parallel lookups, O_TRUNC
// within OPEN, set-id bits left to us (else every write asks for security.capability first).
const REQUIRED =
  INIT.ASYNC_READ +
  INIT.ASYNC_DIO +
  INIT.BIG_WRITES +
  INIT.PARALLEL_DIROPS +
  INIT.ATOMIC_O_TRUNC +
  INIT.MAX_PAGES +
  INIT.HANDLE_KILLPRIV_V2;

export const MAX_WRITE_BYTES = 1 << 20;
const MAX_PAGES = MAX_WRITE_BYTES / 4096;
/** Background requests (read-ahead, write-back) that the kernel may have under way. */
export const MAX_BACKGROUND = 64;
/** From here on the kernel calls the device congested: three quarters, as libfuse has it. */
const CONGESTION_THRESHOLD = 48;

/**
 * Reads fuse_init_in at word `at` of `request` and writes the answer at word `to` of `reply` (INIT_OUT.words of it).
 * Returns what was agreed, or a reason why this kernel cannot be served: answer that with EPROTO.
 */
export function answerInit(
  request: Uint32Array,
  at: number,
  reply: Uint32Array,
  to: number,
  options: InitOptions,
): Negotiated | string {
  const major = request[at + INIT_IN.major]!;
  const minor = request[at + INIT_IN.minor]!;
  // A newer major would send INIT again after an answer with ours; none exists.
  if (major !== FUSE_MAJOR || minor < FUSE_MINOR_MIN) {
    return `the kernel speaks FUSE ${major}.${minor}; ${FUSE_MAJOR}.${FUSE_MINOR_MIN} is the oldest that is served`;
  }
  const offered = request[at + INIT_IN.flags]!;
  const extended = (offered & INIT.INIT_EXT) !== 0;
  const offered2 = extended ? request[at + INIT_IN.flags2]! : 0;
  const flags2 = (offered2 & options.flags2) >>> 0;
  const wanted = REQUIRED | options.flags | (flags2 === 0 ? 0 : INIT.INIT_EXT);
  const flags = (offered & wanted) >>> 0;
  const maxReadaheadBytes = Math.min(
    request[at + INIT_IN.maxReadahead]!,
    options.maxReadaheadBytes,
  );
  reply.fill(0, to, to + INIT_OUT.words);
  reply[to + INIT_OUT.major] = FUSE_MAJOR;
  reply[to + INIT_OUT.minor] = FUSE_MINOR;
  reply[to + INIT_OUT.maxReadahead] = maxReadaheadBytes;
  reply[to + INIT_OUT.flags] = flags;
  reply[to + INIT_OUT.maxBackground] = MAX_BACKGROUND | (CONGESTION_THRESHOLD << 16);
  reply[to + INIT_OUT.maxWrite] = MAX_WRITE_BYTES;
  reply[to + INIT_OUT.timeGran] = 1;
  reply[to + INIT_OUT.maxPages] = MAX_PAGES;
  reply[to + INIT_OUT.flags2] = flags2;
  if ((flags2 & INIT2.PASSTHROUGH) !== 0) reply[to + INIT_OUT.maxStackDepth] = 1;
  return {minor: Math.min(minor, FUSE_MINOR), flags, flags2, maxReadaheadBytes};
}
