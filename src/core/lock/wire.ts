import type {FileLock} from '../protocol/gen/wire.js';
import {EXCLUSIVE, LAST_BYTE, type Lock, RANGE, SHARED, UNLOCKED, WHOLE} from './range-locks.js';

const LOW_BITS = 32n;
const LOW_MASK = 2n ** LOW_BITS - 1n;

export function lockToWire(lock: Lock): FileLock {
  const {type, start, end, owner, pid, kind, session} = lock;
  return {
    type,
    startHigh: Number(start >> LOW_BITS),
    startLow: Number(start & LOW_MASK),
    endHigh: Number(end >> LOW_BITS),
    endLow: Number(end & LOW_MASK),
    owner,
    pid,
    whole: kind === WHOLE,
    session,
  };
}

/** Of this session, whatever the message says; null: it is none. */
export function lockFromWire(lock: FileLock, session: number): Lock | null {
  const {type, owner, pid, whole} = lock;
  if (type !== UNLOCKED && type !== SHARED && type !== EXCLUSIVE) return null;
  const start = offset(lock.startHigh, lock.startLow);
  const end = offset(lock.endHigh, lock.endLow);
  if (start > end || end > LAST_BYTE) return null;
  return {kind: whole ? WHOLE : RANGE, type, start, end, owner, pid, session};
}

export const offset = (high: number, low: number): bigint =>
  (BigInt(high >>> 0) << LOW_BITS) | BigInt(low >>> 0);
