import {messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {type ClusterMap, SLOT, vouched, writable} from '../cluster/map.js';
import {sleep} from '../env/clock.js';
import type {BytePath} from './columns.js';
import {type ChunkPlace, canWrite} from './place.js';
import {chunkKey, type Missed, type MissedBySlot, missedBySlot} from './repair-path.js';

/** Servers that do not say at once what they lack are asked on, and count as they are in the map meanwhile. */
const ANSWER_MS: Ms = 500;

/** What recovering slots lack, by group. Under one map it gets less at most: under it they get every write. */
const known = new WeakMap<ClusterMap, Map<number, Promise<MissedBySlot>>>();

function missed(path: BytePath, group: number): Promise<MissedBySlot> {
  const {map} = path.columns;
  let groups = known.get(map);
  if (groups === undefined) {
    groups = new Map();
    known.set(map, groups);
  }
  let asked = groups.get(group);
  if (asked === undefined) {
    asked = missedBySlot(path, group);
    groups.set(group, asked);
    asked.catch(() => groups.delete(group));
  }
  return asked;
}

/**
 * The place as a writer may see it. Where too few columns are ready, recovering ones that do not lack the chunk count as
 * ready, too (docs, "Slots, epochs, redundancy"). Else a writer would wait for a recovery that waits for its lease: a
 * recovery checks objects that turn out to lack nothing, and the writer can give the lease up only when it has written.
 */
export async function trustedPlace(path: BytePath, place: ChunkPlace): Promise<ChunkPlace> {
  if (canWrite(place) || place.infos.filter(writable).length < place.layout.k) return place;
  let lacking: MissedBySlot | undefined;
  try {
    lacking = (await Promise.race([missed(path, place.group), sleep(path.clock, ANSWER_MS)])) as
      | MissedBySlot
      | undefined;
  } catch (error) {
    path.log.debug('missed.unknown', {group: place.group, reason: messageOf(error)});
    return place;
  }
  if (lacking === undefined || path.columns.map.epoch !== place.epoch) return place;
  const key = chunkKey(place);
  const has = (one: Missed | undefined): boolean =>
    one !== undefined && !one.empty && !one.all.has(key);
  const infos = place.infos.map((info, column) =>
    info.state === SLOT.recovering &&
    has(lacking.get(place.slots[column]!)) &&
    vouched(info, place.infos.toSpliced(column, 1))
      ? {...info, state: SLOT.ready}
      : info,
  );
  return {...place, infos};
}
