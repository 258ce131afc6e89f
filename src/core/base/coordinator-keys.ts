import type {Durability} from './durability.js';
/** What the meta servers of a cluster keep in the coordinator, and what clients read there. */

/** A meta server that may become the active one. */
export interface Member {
  /** Its folder's id. */
  node: string;
  /** Changes when what it had not synced may be gone. */
  life: string;
  /** Where others reach it; absent: it was not told by an earlier release. */
  address?: string;
}

/** Who is active; there as long as its lease is kept alive. */
export interface ActiveServer {
  term: number;
  node: string;
  address: string;
}

/** What stays: who was active last, and who has everything that it answered. */
export interface Standing {
  term: number;
  node: string;
  /** Of changes in this term; tells one's own from another's. */
  serial: number;
  inSync: readonly Member[];
  /** What an fsync of that term stands for; absent, of older releases: both. */
  durability?: Durability;
}

export const activeKey = (prefix: string): string => `${prefix}/active`;
export const standingKey = (prefix: string): string => `${prefix}/standing`;
/** In which era of the coordinator the active one got its lease; stays, too. */
export const eraKey = (prefix: string): string => `${prefix}/era`;

export const encodeKey = (value: ActiveServer | Standing): Uint8Array =>
  new TextEncoder().encode(JSON.stringify(value));

export const encodeEra = (era: string): Uint8Array => new TextEncoder().encode(era);
export const decodeEra = (found: {value: Uint8Array} | null): string | null =>
  found === null ? null : new TextDecoder().decode(found.value);

const decode = <T>(found: {value: Uint8Array} | null): T | null =>
  found === null ? null : (JSON.parse(new TextDecoder().decode(found.value)) as T);

export const decodeActive = (found: {value: Uint8Array} | null): ActiveServer | null =>
  decode<ActiveServer>(found);
export const decodeStanding = (found: {value: Uint8Array} | null): Standing | null =>
  decode<Standing>(found);

/** host:port of the active one first, then of those that may take over. */
export function addressesOf(active: ActiveServer | null, standing: Standing | null): string[] {
  const all = [active?.address, ...(standing?.inSync.map(({address}) => address) ?? [])];
  return [...new Set(all.filter((one): one is string => one !== undefined && one !== ''))];
}
