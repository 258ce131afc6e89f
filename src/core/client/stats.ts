import type {Counters} from '../protocol/gen/wire.js';

/** What one client did since it started; plain counters for benches, tests and `status`. */
export class Stats {
  metaCalls = 0;
  dataCalls = 0;
  dataBytesOut = 0;
  dataBytesIn = 0;
  /** Stripes written without reading anything. */
  wholeStripes = 0;
  /** Runs of rows written that needed bytes which were not in the cache, or only a part of the stripe. */
  partialStripes = 0;
  /** Runs of rows of which redundancy got what changed (delta-writer.ts). */
  deltaPieces = 0;
  /** Bytes that programs got of what had been read ahead of them. */
  aheadBytes = 0;
  /** Reads that a read copy answered. */
  copyReads = 0;
  /** Answers to an agent that say that a server has clients to serve. */
  busyReplies = 0;
  reconstructedBlocks = 0;
  badBlocks = 0;
  healedBlocks = 0;
  recalls = 0;
  leases = 0;
}

/** For the meta server: what was asked of others. */
export const countersOf = (s: Stats): Counters => ({
  reads: 0,
  readBytes: s.dataBytesIn,
  writes: 0,
  writeBytes: s.dataBytesOut,
  syncs: 0,
  calls: s.dataCalls,
  metaCalls: s.metaCalls,
});
