import type {Release} from '../base/features.js';
import type {BufferPool} from '../base/pool.js';
import type {Traffic} from '../base/traffic.js';
import type {Clock} from './clock.js';
import type {Codec} from './codec.js';
import type {Disk} from './disk.js';
import type {Kv} from './kv.js';
import type {Log} from './log.js';
import type {Net} from './net.js';
import type {Random} from './random.js';
import type {Steering} from './steering.js';

/** Everything of the outside world that a role may touch. Modules ask for a `Pick` of it. */
export interface Env {
  clock: Clock;
  random: Random;
  net: Net;
  disk: Disk;
  kv: Kv;
  codec: Codec;
  log: Log;
  pool: BufferPool;
  /** Absent: this one. */
  release?: Release;
  /** Absent: nobody counts. */
  traffic?: Traffic;
  /** Absent: nothing can be changed. */
  steering?: Steering;
}
