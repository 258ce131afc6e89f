import type {Steering} from '../core/env/steering.js';
import type {LogLevels} from '../core/os/log-levels.js';

/** The answer to who asked for the end leaves before it. */
const STOP_AFTER_MS = 100;

/** What an administrator may change of this process, by messages. */
export class ProcessSteering implements Steering {
  /** Resolves when its end is asked for; as a signal would say it. */
  readonly stopAsked: Promise<string>;
  readonly #levels: LogLevels;
  #stop: () => void = () => {};

  constructor(levels: LogLevels) {
    this.#levels = levels;
    this.stopAsked = new Promise((resolve) => {
      this.#stop = () => resolve('an administrator');
    });
  }

  get levels(): string {
    return this.#levels.levels;
  }

  get revertsMs(): number {
    return this.#levels.revertsMs;
  }

  setLevels(levels: string, forMs: number): boolean {
    return this.#levels.setLevels(levels, forMs);
  }

  stop(): void {
    setTimeout(this.#stop, STOP_AFTER_MS);
  }
}
