import type {Counters} from '../protocol/gen/wire.js';
import type {DataStats} from './ops/context.js';

/** For the meta server. */
export const countersOf = (s: DataStats): Counters => ({
  reads: s.reads,
  readBytes: s.bytesOut,
  writes: s.writes,
  writeBytes: s.bytesIn,
  syncs: s.syncs,
  calls: s.requests,
  metaCalls: 0,
});
