import {groupTransitions} from '../cluster/group-states.js';
import {slotTransitions} from '../cluster/slot-states.js';
import type {Log, LogFields} from '../env/log.js';

/** Second failures, besides the rows of the tables. */
export const SECOND_FAILURES = [
  'lost beside one that recovers',
  'replaced beside one that recovers',
  'replaced after it was lost while it recovered',
] as const;

export const slotKey = (from: string, on: string): string => `slot: ${from}, ${on}`;
export const groupKey = (from: string, to: string): string => `group: ${from} to ${to}`;

/** Everything that is counted. */
export const allTransitions = (): string[] => [
  ...slotTransitions.map(([from, on]) => slotKey(from, on)),
  ...groupTransitions.map(([from, to]) => groupKey(from, to)),
  ...SECOND_FAILURES,
];

/** How often each transition of the slots and groups was taken in a world, by what its meta server logs of it. */
export class Transitions {
  readonly counts: Record<string, number> = {};
  /** Slots that recover, and that were lost while they did; what an earlier process of the meta server said of them does not count. */
  #recovering = new Set<string>();
  #lost = new Set<string>();

  /** What a process of the meta server begins with. */
  watched<E extends {readonly log: Log}>(env: E): E {
    this.#recovering.clear();
    this.#lost.clear();
    return {...env, log: this.#over(env.log)};
  }

  #over(log: Log): Log {
    return {
      debug: (...a) => log.debug(...a),
      info: (event, fields) => {
        this.#note(event, fields);
        log.info(event, fields);
      },
      warn: (...a) => log.warn(...a),
      error: (...a) => log.error(...a),
      with: (fields) => this.#over(log.with(fields)),
    };
  }

  #note(event: string, {group, slot, from}: LogFields = {}): void {
    if (typeof from !== 'string') return;
    const [what, name] = event.split('.') as [string, string];
    if (what === 'group') this.#count(groupKey(from, name));
    else if (what === 'slot') this.#slot(`${group}.${slot}`, from, name);
  }

  #slot(which: string, from: string, on: string): void {
    this.#count(slotKey(from, on));
    const beside = this.#recovering.size > Number(this.#recovering.has(which));
    if (on === 'lost') {
      if (beside) this.#count('lost beside one that recovers');
      if (this.#recovering.delete(which)) this.#lost.add(which);
      return;
    }
    if (on === 'replaced') {
      if (beside) this.#count('replaced beside one that recovers');
      if (this.#lost.has(which)) this.#count('replaced after it was lost while it recovered');
    }
    this.#lost.delete(which);
    if (on === 'back' || on === 'replaced') this.#recovering.add(which);
    else this.#recovering.delete(which);
  }

  #count(key: string): void {
    this.counts[key] = (this.counts[key] ?? 0) + 1;
  }
}
