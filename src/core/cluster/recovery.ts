import {MIB} from '../base/units.js';

/** How servers that lack something go on (docs, "Recovery"): the same for all, kept by the meta server. */
export interface RecoveryOrder {
  paused: boolean;
  /** Bytes that one server moves in a second at most, to and from others. */
  rate: number;
}

/** How fast one goes, of late. */
export interface RecoverySpeed {
  /** Bytes and chunks a second. */
  bytes: number;
  chunks: number;
  /** It is slower than it may be, because clients are served. */
  givesWay: boolean;
}

export const STILL: RecoverySpeed = {bytes: 0, chunks: 0, givesWay: false};

/** Half of what a fast network of one gigabit takes: programs have the other half. */
export const RECOVERY_ORDER: RecoveryOrder = {paused: false, rate: 64 * MIB};

/** The smallest rate: even so a recovery ends some day. */
const RATE_MIN = 64 * 1024;

/** `paused`: 0 as it is, 1 no, 2 yes; `rate` 0: as it is. */
export function changedRecovery(
  before: RecoveryOrder,
  change: {paused: number; rate: number},
): RecoveryOrder {
  return {
    paused: change.paused === 0 ? before.paused : change.paused === 2,
    rate: change.rate === 0 ? before.rate : Math.max(RATE_MIN, change.rate),
  };
}

/** What a heartbeat says of a recovery that has `left` chunks to go. */
export function recoveryFigures(left: number, speed: () => RecoverySpeed) {
  const {bytes, chunks, givesWay} = left === 0 ? STILL : speed();
  const recoveryS = chunks === 0 ? 0 : Math.round(left / chunks);
  return {recoveryLeft: left, givesWay, recoveryRate: bytes, recoveryS};
}
