import type {Member} from '../base/coordinator-keys.js';
import type {Ms} from '../base/ids.js';
import type {InSyncSet} from './standbys.js';

/** The right to be the active meta server. */
export interface Reign {
  readonly term: number;
  /** Is nobody else active, for sure? */
  readonly valid: boolean;
  /** For how long that is so if the coordinator says nothing more; absent: for ever. */
  readonly validMs?: Ms;
  /** Since the coordinator has not answered; 0: it does. */
  readonly awayMs?: Ms;
  readonly self: Member;
  readonly set: InSyncSet;
  /** It has ended. */
  onDeposed(error: unknown): void;
}

/** Of who is the only one. */
export const ALONE: Omit<Reign, 'term'> = {
  valid: true,
  self: {node: '', life: ''},
  set: {change: () => Promise.resolve()},
  onDeposed: () => {},
};
