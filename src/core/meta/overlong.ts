import type * as wire from '../protocol/gen/wire.js';
import type {Parts} from './parts.js';

/**
 * May columns of the object have bytes beyond its size? Somebody died who could not tell the size, or a power cut of this machine took it back; the resync
 * that was ordered then, and cuts such bytes, has not come to an end. It has to wait for the lease like anybody, so who gets that before is told. Copies
 * may differ until then, too.
 */
export function overlong({cluster}: Pick<Parts, 'cluster'>, layout: wire.Layout | null): boolean {
  return layout !== null && cluster.control.unchecked(layout.groups);
}
