import type {Time} from '../protocol/gen/wire.js';

export const later = (a: Time, b: Time): boolean =>
  a.sec > b.sec || (a.sec === b.sec && a.nsec > b.nsec);

export const laterThan = (a: Time | null, b: Time): boolean => a !== null && later(a, b);
