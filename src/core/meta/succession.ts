import type {ActiveServer} from '../base/coordinator-keys.js';
import type {Ms} from '../base/ids.js';
import type {Reign} from './reign.js';

/** A term of one's own. */
export interface OwnReign extends Reign {
  /** It has everything that was answered, not only what was on stable storage. */
  readonly whole: boolean;
  /** Called once, when it has ended otherwise than by `end`. */
  deposed: (error: unknown) => void;
  /** Lets another one begin at once. */
  end(): Promise<void>;
}

/** Why one is not elected; `passes`: that ends by itself, with a lease. */
export type Verdict = {reign: OwnReign} | {why: string; passes?: boolean};

/** What a server that wants to be active knows of itself. */
export interface Candidate {
  /** The last term in its state. */
  term: number;
  /** An administrator says that what it lacks is to be lost. */
  acceptLoss: boolean;
}

/** How one of several meta servers gets to be the active one. */
export interface Succession {
  /** How that is decided, for people. */
  readonly how: string;
  /** Since whoever decides has not answered; 0: he does; absent: nobody is asked. */
  readonly awayMs?: Ms;
  /** As of now; rejects with Lost. */
  active(): Promise<ActiveServer | null>;
  /** Becomes the active one if nobody is and it may. Rejects with Lost: then it may be it until the lease ends, and does not know. */
  campaign(candidate: Candidate): Promise<Verdict>;
  close(): void;
}
