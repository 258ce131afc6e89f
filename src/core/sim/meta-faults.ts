import type {Ms} from '../base/ids.js';
import type {Victims} from './faults.js';
import type {Fullness} from './full-disks.js';
import type {SeededRandom} from './random.js';

/** Clients get their sessions back (11 s of grace) before the next blow; else they are rightly fenced. */
export const META_REST_MS: Ms = 12_000;
/** Until another one is active. */
const ELECTED_MS: Ms = 4000;
/** Until the one that lost its power is active again, where no other one may be. */
const AGAIN_MS: Ms = 10_000;
/** As long as a meta server that is killed stays away. */
const META_FULL_MS_MAX: Ms = 3000;

/** What is done to meta servers, one thing at a time. */
export class MetaFaults {
  /** Something is going on: nothing else may begin. */
  busy = false;
  readonly #victims: Victims;
  readonly #random: SeededRandom;

  constructor(victims: Victims, random: SeededRandom) {
    this.#victims = victims;
    this.#random = random;
  }

  /** Without any space its process ends, and begins again when there is some. */
  async full(how: Fullness, ms: Ms): Promise<void> {
    if (this.busy) return;
    const victims = this.#victims;
    this.busy = true;
    victims.note(`the disk of the meta server has room for ${how}`);
    victims.fill('meta', how);
    await victims.pause(how === 'nothing' ? Math.min(ms, META_FULL_MS_MAX) : ms);
    victims.note('there is space again for the meta server');
    victims.relieve('meta');
    await victims.pause(how === 'nothing' ? META_REST_MS : 0);
    this.busy = false;
  }

  /** Killed, or without power, and back; maybe after all others, so that it was the last one. */
  async kill(power: boolean): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    const {metas, shape} = this.#victims;
    const index = this.#choose();
    // No draw where no durability is asked for: those worlds stay what they were.
    const all = shape.durability !== undefined && this.#random.chance(0.5);
    const others = all ? Array.from({length: metas.count}, (_, at) => at) : [index];
    for (const other of others.filter((one) => one !== index)) {
      this.#kill(other, this.#random.chance(0.5));
      await this.#victims.pause(this.#random.float() * ELECTED_MS);
    }
    this.#kill(index, power);
    await this.#victims.pause(all ? this.#random.float() * 3000 : this.#away());
    for (const one of others) metas.start(one);
    await this.#rest();
    this.busy = false;
  }

  #kill(index: number, power: boolean): void {
    this.#victims.note(`${this.#name(index)} ${power ? 'loses power' : 'is killed'}`);
    this.#victims.metas.kill(index, power);
  }

  /** Mostly the active one. */
  #choose(): number {
    const {count, active} = this.#victims.metas;
    if (count === 1) return 0;
    return active >= 0 && this.#random.chance(0.8) ? active : this.#random.below(count);
  }

  /** Whoever is active next waits for those who died meanwhile (11 s of grace), from when the last lease is over. */
  async #rest(): Promise<void> {
    // No draw where there is one: those worlds stay what they were.
    const one = this.#victims.metas.count === 1;
    const electedMs = this.#victims.metas.takesOver ? ELECTED_MS : AGAIN_MS;
    const several = (): Ms => electedMs + META_REST_MS * (1 + this.#random.float() / 2);
    await this.#victims.pause(one ? META_REST_MS : several());
  }

  #name(index: number): string {
    return this.#victims.metas.count === 1 ? 'the meta server' : `meta server ${index}`;
  }

  /** Where others take over it may be away for long. */
  #away(): Ms {
    const longest = this.#victims.metas.takesOver ? this.#random.pick([1000, 5000, 20_000]) : 3000;
    return this.#random.float() * longest;
  }

  /** SIGSTOP, and SIGCONT. */
  async freeze(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    const victims = this.#victims;
    const index = this.#choose();
    victims.note(`meta server ${index} is frozen`);
    victims.metas.freeze(index);
    await victims.pause(this.#away());
    victims.note(`meta server ${index} wakes up`);
    victims.metas.thaw(index);
    await this.#rest();
    this.busy = false;
  }

  /** From others, for a while. */
  async cut(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    const victims = this.#victims;
    const index = this.#choose();
    const from = this.#random.pick(['coordinator', 'metas', 'both', 'users'] as const);
    victims.note(`meta server ${index} is cut off: ${from}`);
    victims.metas.cut(index, from);
    // Who cannot reach the active one, and nobody takes over, is fenced rightly after a while.
    await victims.pause(from === 'users' ? this.#random.float() * 3000 : this.#away());
    victims.note('all hear each other again');
    victims.healPartitions();
    await this.#rest();
    this.busy = false;
  }

  /** It has lost its quorum. */
  async coordinator(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    const victims = this.#victims;
    victims.note('the coordinator is away');
    victims.metas.coordinatorDown(true);
    await victims.pause(this.#random.float() * this.#random.pick([1000, 5000]));
    victims.note('the coordinator is back');
    victims.metas.coordinatorDown(false);
    await this.#rest();
    this.busy = false;
  }
}
