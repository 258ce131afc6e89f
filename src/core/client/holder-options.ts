import type {Ms} from '../base/ids.js';
import type {ByteRange} from '../lease/ranges.js';
import type {FlushItem} from '../protocol/gen/wire.js';
import type {CacheOwner} from './api.js';
import type {Held} from './held.js';

/** What a lease holder needs of the rest of its client. */
export interface HolderOptions {
  cacheOwner: CacheOwner | null;
  /** Writes back everything dirty of an object; rejects if it cannot. */
  flush(held: Held, range: ByteRange): Promise<unknown>;
  /** What a lease covered is not believed any more. */
  ended(oid: number): void;
  /** What is dirty of it need not be written. */
  dropped(held: Held): void;
  /** A directory is not held for writing any more. */
  returned(oid: number): void;
  /** The meta server knows everything that was done to the object here. */
  settle(oid: number): Promise<void>;
  /** Is there something of it that the meta server does not know; does it not know the object? */
  unsettled(oid: number): boolean;
  unborn(oid: number): boolean;
  /** Can the meta server not even have heard of it? */
  unsent(oid: number): boolean;
  /** Directories that were removed here: claimed until the meta server knows what was done under their leases. */
  removed(): Iterable<number>;
  /** The meta server knows size and times of this client; what it said before is older. */
  told(item: FlushItem): void;
  /** Resolves when nothing is left of an object beyond its size, or the lease was lost, or it is to be tried again; after `until` it rejects. */
  cut(held: Held, until: Ms): Promise<void>;
  /** Tells servers which chunks have columns that differ. Never rejects; what they were told is not `torn` any more. */
  doubt(held: Held): Promise<void>;
  /** Do its groups lack servers without which it cannot be written back; for how long does who reads wait for them? */
  short(held: Held): boolean;
  tooFewWaitMs: Ms;
}
