import type {Ms} from '../base/ids.js';
import type {Env} from '../env/env.js';

/** Does the coordinator answer this server? Each change is logged once. */
export class CoordinatorContact {
  readonly #env: Pick<Env, 'clock' | 'log'>;
  #heardAt: Ms;
  #away = false;

  constructor(env: Pick<Env, 'clock' | 'log'>) {
    this.#env = env;
    this.#heardAt = env.clock.now();
  }

  heard(): void {
    const {clock, log} = this.#env;
    if (this.#away) log.info('coordinator.back', {awayMs: Math.round(this.awayMs)});
    this.#away = false;
    this.#heardAt = clock.now();
  }

  /** `servesMs`: for how long this server goes on as the active one if nothing more is heard. */
  lost(reason: string, servesMs: Ms): void {
    if (this.#away) return;
    this.#away = true;
    const times = {awayMs: Math.round(this.awayMs), servesMs: Math.round(servesMs)};
    this.#env.log.warn('coordinator.away', {reason, ...times});
  }

  /** Since it last answered; 0: it does. */
  get awayMs(): Ms {
    return this.#away ? this.#env.clock.now() - this.#heardAt : 0;
  }
}
