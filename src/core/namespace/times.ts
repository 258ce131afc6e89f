import type {Time} from '../protocol/gen/wire.js';

/** Records keep seconds of this magnitude at most (byte-writer.ts); some 140 million years. */
const SECONDS_MAX = 2 ** 52 - 1;

/** Is it a time that a record can hold? What a peer sends need not be. */
export function validTime(time: Time | null | undefined): time is Time {
  return (
    time !== null &&
    time !== undefined &&
    Number.isSafeInteger(time.sec) &&
    Math.abs(time.sec) <= SECONDS_MAX &&
    time.nsec < 1e9
  );
}

export const later = (a: Time, b: Time): boolean =>
  a.sec > b.sec || (a.sec === b.sec && a.nsec > b.nsec);
