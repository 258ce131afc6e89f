import type {Layout} from '../layout/scheme.js';
import type {Held} from './held.js';

/**
 * The meta server said how the object lies. If it was moved, whoever did that had it alone, and what is known of chunks is of those that it was moved
 * from: nothing but whether what was written to them got lost before it was synced, and so before it was moved, is of interest any more.
 */
export function laid(held: Held, layout: Layout): void {
  const before = held.layout;
  if (before !== null && layout.generation < before.generation) return;
  held.layout = layout;
  if (before === null || layout.generation === before.generation) return;
  for (const [chunk, entry] of held.unsynced) held.left.push({chunk, layout: before, entry});
  held.unsynced.clear();
  held.settle.clear();
  held.finished();
  held.torn.clear();
  held.checked.clear();
  held.known.clear();
  held.noted.clear();
}
