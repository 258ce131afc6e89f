import type {Ms} from '../base/ids.js';
import {type SlotInfo, unready} from '../cluster/map.js';

interface Group {
  id: number;
  slots: readonly Pick<SlotInfo, 'state'>[];
}

/** When groups lacked servers last. */
export class Shortages {
  /** By group, by how many were lacking at least. */
  readonly #at = new Map<number, Ms[]>();

  /** As they are now; to be told several times a second. */
  note(groups: Iterable<Group>, now: Ms): void {
    for (const {id, slots} of groups) {
      const lacking = unready(slots);
      if (lacking === 0) continue;
      let at = this.#at.get(id);
      if (at === undefined) {
        at = [];
        this.#at.set(id, at);
      }
      for (let count = 0; count <= lacking; count++) at[count] = now;
    }
  }

  /** Did a group of the layout lack more than its redundancy makes up for, at or after `since`? */
  lacked({m, groups}: {m: number; groups: readonly number[]}, since: Ms): boolean {
    return groups.some((id) => (this.#at.get(id)?.[m + 1] ?? Number.NEGATIVE_INFINITY) >= since);
  }
}
