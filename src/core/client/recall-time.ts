import type {Ms} from '../base/ids.js';
import type {Clock, Timer} from '../env/clock.js';

/** The recall time is 10 s; what has not been written back by then goes with an error rather than with the whole session. */
const RECALL_FLUSH_MS: Ms = 8000;
/** A shortage that begins is seen so soon; one of servers that were lost is known after seconds. */
const LOOK_MS: Ms = 250;

interface RecallTimeOptions {
  /** When the meta server was met that asks now: it knows of no recall, and gives each as much time as ever. */
  metAt(): Ms;
  /** Are there too few servers to write back? */
  short(): boolean;
  /** For so long it is waited for them. */
  patienceMs: Ms;
  /** Without a connection nobody can say that he gave up. */
  connected(): boolean;
}

/** What a recall has left of its time, which does not pass while there are too few servers: the meta server sees that, too, and does not fence. */
export class RecallTime {
  readonly #clock: Clock;
  readonly #options: RecallTimeOptions;
  #from: Ms;
  #shortSince: Ms | null = null;

  constructor(clock: Clock, options: RecallTimeOptions) {
    this.#clock = clock;
    this.#options = options;
    this.#from = clock.now();
  }

  /** It has to be given up. */
  get over(): boolean {
    return this.#left() <= 0 && this.#options.connected();
  }

  /** Has it waited for servers? Then what failed meanwhile is worth another attempt. */
  get waited(): boolean {
    return this.#shortSince !== null;
  }

  /** Calls back once, when it is over. */
  watch(late: () => void): Pick<Timer, 'cancel'> {
    let timer: Timer;
    const look = (): void => {
      if (this.over) late();
      else timer = this.#clock.timer(Math.max(1, Math.min(LOOK_MS, this.#left())), look);
    };
    look();
    return {cancel: () => timer?.cancel()};
  }

  #left(): Ms {
    const {metAt, short, patienceMs} = this.#options;
    const now = this.#clock.now();
    if (short()) {
      this.#shortSince ??= now;
      if (now - this.#shortSince < patienceMs) this.#from = now;
    }
    return Math.max(this.#from, metAt()) + RECALL_FLUSH_MS - now;
  }
}
