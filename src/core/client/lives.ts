/**
 * What a server had been told to write and had not synced is gone when it comes back in another life (its machine lost power, or a
 * disk failed a sync). Who fills a slot says in its hello which life it is in. Counts losses, so that whoever remembers the count from before
 * a write can tell whether it may be among them.
 */
export class Lives {
  readonly #slots = new Map<string, {life: number; lostAt: number}>();
  #losses = 0;

  get losses(): number {
    return this.#losses;
  }

  /** The slot's server is in this life. */
  seen(group: number, slot: number, life: number): void {
    const known = this.#slots.get(`${group}.${slot}`);
    if (known === undefined) this.#slots.set(`${group}.${slot}`, {life, lostAt: 0});
    else if (known.life !== life) {
      known.life = life;
      known.lostAt = ++this.#losses;
    }
  }

  /** A sync has failed there: what was not synced before may be gone, whatever later ones say. */
  failed(group: number, slot: number): void {
    const life = this.#slots.get(`${group}.${slot}`)?.life ?? 0;
    this.#slots.set(`${group}.${slot}`, {life, lostAt: ++this.#losses});
  }

  /** Is what was written there when there had been `losses` still there? */
  keeps(group: number, slot: number, losses: number): boolean {
    return (this.#slots.get(`${group}.${slot}`)?.lostAt ?? 0) <= losses;
  }
}
