import type {Ms} from '../base/ids.js';

/** What an administrator may change of a running process. */
export interface Steering {
  /** What it logs: `LEVEL[,CATEGORY=LEVEL...]`. */
  readonly levels: string;
  /** Until it is as before; 0: it stays. */
  readonly revertsMs: Ms;
  /** False, and nothing changes, if they are not such. `forMs` 0: it stays. */
  setLevels(levels: string, forMs: Ms): boolean;
  /** Ends the process in order, soon. */
  stop(): void;
}
