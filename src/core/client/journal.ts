import type {Change} from '../protocol/gen/wire.js';

/** Changes that wait for the meta server at most; whoever wants to make more waits. */
const WAITING_MAX = 4096;

/** Of objects that nobody syncs, the first ones are forgotten. */
const LOST_MAX = 65_536;

/** What a change takes in a message beside its request, at most. */
const CHANGE_BYTES = 48;
const GROUP_BYTES = 5;

/** A change of names or attributes that was carried out here, and is told to the meta server later. */
export interface Entry {
  readonly change: Change;
  /** Objects whose attributes or names it changes, and the directories that hold them. */
  readonly touches: readonly number[];
  /** It makes this object; 0: none. */
  readonly makes: number;
  /** It removes this directory; 0: none. */
  readonly removes: number;
}

/**
 * What this client has changed under its leases and the meta server does not know yet, in the order in which it was
 * done. It leaves in that order, one message at a time, each of which happens wholly or not at all: so what is left after a crash of
 * this client is what it had done up to some moment.
 */
export class Journal {
  #waiting: Entry[] = [];
  /** Sent and not answered. */
  #flying: readonly Entry[] = [];
  /** By object: entries that touch it. */
  readonly #touched = new Map<number, number>();
  /** Objects that the meta server does not know yet. */
  readonly #unborn = new Set<number>();
  /** Those of them that were taken to be sent. */
  readonly #sent = new Set<number>();
  /** Directories that were removed, and that the meta server still has. */
  readonly #removed = new Set<number>();
  #room: (() => void)[] = [];
  /** Objects that lost entries touched, and whose programs were not told yet. */
  readonly #lost = new Set<number>();

  get waiting(): number {
    return this.#waiting.length;
  }

  get empty(): boolean {
    return this.#waiting.length + this.#flying.length === 0;
  }

  get full(): boolean {
    return this.#waiting.length >= WAITING_MAX;
  }

  /** Is there anything of this object that the meta server does not know? */
  touches(oid: number): boolean {
    return this.#touched.has(oid);
  }

  unborn(oid: number): boolean {
    return this.#unborn.has(oid);
  }

  /** The meta server cannot know of it. It may know what was sent to it, though it has not answered yet. */
  unsent(oid: number): boolean {
    return this.#unborn.has(oid) && !this.#sent.has(oid);
  }

  /** Those that the meta server may have known, and has not said that it removed. */
  *removed(): Iterable<number> {
    for (const oid of this.#removed) if (!this.unsent(oid)) yield oid;
  }

  add(entry: Entry): void {
    this.#waiting.push(entry);
    for (const oid of entry.touches) this.#touched.set(oid, (this.#touched.get(oid) ?? 0) + 1);
    if (entry.makes !== 0) this.#unborn.add(entry.makes);
    if (entry.removes !== 0) this.#removed.add(entry.removes);
  }

  /** The next ones to be sent, at most so many and about so many bytes; `done` must follow before any others are taken. */
  take(max: number, bytesMax: number): readonly Entry[] {
    let count = 0;
    for (let bytes = 0; count < Math.min(max, this.#waiting.length); count++) {
      const {request, groups} = this.#waiting[count]!.change;
      bytes += CHANGE_BYTES + request.length + GROUP_BYTES * groups.length;
      if (bytes > bytesMax && count > 0) break;
    }
    this.#flying = this.#waiting.splice(0, count);
    for (const {makes} of this.#flying) if (makes !== 0) this.#sent.add(makes);
    return this.#flying;
  }

  /** The meta server has what was taken. */
  done(): void {
    for (const entry of this.#flying) this.#forget(entry);
    this.#flying = [];
    this.#sent.clear();
    if (!this.full) for (const wake of this.#room.splice(0)) wake();
  }

  /** The session is gone, and with it what was done under its leases: how many changes. */
  lose(): number {
    const count = this.#waiting.length + this.#flying.length;
    for (const {touches} of [...this.#flying, ...this.#waiting]) this.refused(touches);
    this.#waiting = [];
    this.#flying = [];
    this.#touched.clear();
    this.#unborn.clear();
    this.#sent.clear();
    this.#removed.clear();
    for (const wake of this.#room.splice(0)) wake();
    return count;
  }

  /** A change of these objects was lost. */
  refused(touches: readonly number[]): void {
    for (const oid of touches) this.#lost.add(oid);
    for (const oid of this.#lost) {
      if (this.#lost.size <= LOST_MAX) break;
      this.#lost.delete(oid);
    }
  }

  /** Has a change of this object been lost that nobody was told about? Without one: of any. */
  takeLost(oid?: number): boolean {
    if (oid !== undefined) return this.#lost.delete(oid);
    const some = this.#lost.size > 0;
    this.#lost.clear();
    return some;
  }

  /** Resolves when there may be room. */
  room(): Promise<void> {
    return new Promise((resolve) => this.#room.push(resolve));
  }

  #forget({touches, makes, removes}: Entry): void {
    for (const oid of touches) {
      const count = this.#touched.get(oid)! - 1;
      if (count === 0) this.#touched.delete(oid);
      else this.#touched.set(oid, count);
    }
    if (makes !== 0) this.#unborn.delete(makes);
    this.#removed.delete(removes);
  }
}
