import type {LockAsk} from './lock-keeper.js';
import type {LockTable} from './lock-table.js';
import {conflicts, RANGE} from './range-locks.js';

/**
 * Would somebody wait for himself if this request waited? Follows who holds what it needs, what they wait for, who holds that,
 * and so on. Only fcntl's locks count (POSIX.1-2017, fcntl: EDEADLK); flock(2) knows no such error.
 */
export function deadlocks(
  table: LockTable,
  ask: LockAsk,
  waitsOf: (session: number, owner: number) => readonly LockAsk[],
): boolean {
  const {session, owner, kind} = ask.wanted;
  if (kind !== RANGE) return false;
  const seen = new Set<string>();
  const left: LockAsk[] = [ask];
  for (let waits = left.pop(); waits !== undefined; waits = left.pop()) {
    for (const held of table.of(waits.oid)) {
      if (!conflicts(held, waits.wanted)) continue;
      if (held.session === session && held.owner === owner) return true;
      const holder = `${held.session}.${held.owner}`;
      if (seen.has(holder)) continue;
      seen.add(holder);
      for (const next of waitsOf(held.session, held.owner))
        if (next.wanted.kind === RANGE) left.push(next);
    }
  }
  return false;
}
