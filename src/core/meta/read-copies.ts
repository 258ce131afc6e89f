import {FsError} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {type ClusterMap, SLOT} from '../cluster/map.js';
import type {ReadCopyPolicy} from '../cluster/read-copies.js';
import type {Env} from '../env/env.js';
import {inCommon} from '../layout/location.js';
import {columnSlot, groupOf} from '../layout/stripe.js';
import {READ} from '../lease/lease-object.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {DataPeer} from './cluster.js';
import type {Leases} from './leases.js';
import type {Machine} from './machine.js';
import type {Session, Sessions} from './sessions.js';

/** A chunk is hot without a pause when servers say so at least so often. */
const HOT_MS: Ms = 3000;
const HOT_MAX = 4096;
/** An order that was not carried out by then is forgotten. */
const MAKE_MS: Ms = 60_000;
/** So long a chunk whose last copy was in vain, or went because somebody wrote, gets no other one. */
const AGAIN_MS: Ms = 10_000;
const OBJECTS_MAX = 16_384;
const COPIES_PER_OBJECT_MAX = 64;
const DROPS_MAX = 1024;
const HOT_PER_SERVER = 16;
/** A server with less free space gets none. */
const FREE_SHARE_MIN = 0.1;

interface Copy extends wire.ReadCopy {
  oid: number;
  made: boolean;
  orderedAt: Ms;
}

interface Hot {
  since: Ms;
  at: Ms;
  /** None before. */
  notBefore: Ms;
}

/** What a server says of its read copies. */
interface Server {
  count: number;
  bytes: number;
  /** Bytes that clients got from them since its process began. */
  read: number;
  /** By id. */
  copies: Map<number, Copy>;
  /** To be told with its next heartbeat. */
  make: Copy[];
  unmake: number[];
}

interface ReadCopiesParts {
  machine: Machine;
  leases(): Leases;
  sessions: Sessions;
  map(): ClusterMap;
  policy(): ReadCopyPolicy;
}

/**
 * Read copies: data columns of chunks that are read often, once more on other servers. They are known here and in memory only, and
 * given to who holds the object for reading. With the first lease for writing that anybody gets of the object they are forgotten here, before
 * that lease has been told; so whoever reads one under his lease reads what columns have. They count as no redundancy.
 */
export class ReadCopies {
  readonly #env: Pick<Env, 'clock' | 'log'>;
  readonly #parts: ReadCopiesParts;
  readonly #byObject = new Map<number, Copy[]>();
  readonly #servers = new Map<string, Server>();
  readonly #hot = new Map<string, Hot>();
  /** Ids are not those of another life: a data server may still have its copies. */
  #next: number;

  constructor(env: Pick<Env, 'clock' | 'log' | 'random'>, parts: ReadCopiesParts) {
    this.#env = env;
    this.#parts = parts;
    this.#next = 1 + env.random.below(2 ** 46);
  }

  /** What may be told to who holds the object for reading. */
  of(oid: number): wire.ReadCopy[] {
    const copies = this.#byObject.get(oid);
    return copies === undefined ? [] : copies.filter(({made}) => made).map(toWire);
  }

  /** Somebody may change the object. */
  changing(oid: number): void {
    const copies = this.#byObject.get(oid);
    if (copies === undefined) return;
    for (const copy of [...copies]) this.#forget(copy);
  }

  /** The process that had them is gone, or another one has begun. */
  lost(server: string): void {
    for (const copy of [...(this.#servers.get(server)?.copies.values() ?? [])]) this.#forget(copy);
    this.#servers.delete(server);
  }

  /** What a server says, and what it is told. */
  heartbeat(
    {uuid}: DataPeer,
    {hot, copies}: Pick<wire.HeartbeatRequest, 'hot' | 'copies'>,
  ): Pick<wire.HeartbeatReply, 'make' | 'unmake'> {
    const {count = 0, bytes = 0, dropped = [], read = 0} = copies ?? {};
    const server = this.#server(uuid);
    server.count = count;
    server.bytes = bytes;
    server.read = read;
    for (const id of dropped) {
      const copy = server.copies.get(id);
      if (copy !== undefined) this.#forget(copy);
    }
    for (const {oid, chunk, weight} of hot.slice(0, HOT_PER_SERVER))
      if (weight >= this.#parts.policy().weight) this.#seen(oid, chunk);
    const make = server.make.splice(0).map(({id, oid, chunk}) => ({id, oid, chunk}));
    return {make, unmake: server.unmake.splice(0)};
  }

  /** FsError ESTALE: it is of no use any more. */
  made(session: Session, {id, oid}: wire.ReadCopyMadeRequest): void {
    const copy = this.#byObject.get(oid)?.find((one) => one.id === id);
    const leases = this.#parts.leases();
    // Since it was ordered nobody may have written; nor while it was made, which its lease says.
    const held = leases.table.lasting(session.id, oid) === READ;
    if (copy === undefined || session.server !== copy.server || !held)
      throw new FsError('ESTALE', `read copy ${id}`);
    copy.made = true;
    this.#env.log.info('read-copy.made', {oid, chunk: copy.chunk, server: copy.server});
    const message = {oid, copies: this.of(oid)};
    for (const reader of leases.table.readers(oid)) {
      const {peer = null} = this.#parts.sessions.get(reader) ?? {};
      if (reader !== session.id) peer?.push(OPS.readCopiesPush, message);
    }
  }

  /** Of all servers in slots. */
  figures(): wire.ServerCopies[] {
    return [...slots(this.#parts.map())].map(({group, slot, server}) => {
      const {count = 0, bytes = 0, read = 0} = this.#servers.get(server.uuid) ?? {};
      return {group, slot, address: server.address, count, bytes, read};
    });
  }

  #server(uuid: string): Server {
    let server = this.#servers.get(uuid);
    if (server === undefined) {
      server = {count: 0, bytes: 0, read: 0, copies: new Map(), make: [], unmake: []};
      this.#servers.set(uuid, server);
    }
    return server;
  }

  #forget(copy: Copy): void {
    const rest = (this.#byObject.get(copy.oid) ?? []).filter((one) => one !== copy);
    if (rest.length === 0) this.#byObject.delete(copy.oid);
    else this.#byObject.set(copy.oid, rest);
    const {copies, make, unmake} = this.#server(copy.server);
    copies.delete(copy.id);
    const unsent = make.indexOf(copy);
    if (unsent >= 0) make.splice(unsent, 1);
    // One that is not told goes when it is cold.
    else if (unmake.length < DROPS_MAX) unmake.push(copy.id);
    const hot = this.#hot.get(keyOf(copy));
    if (hot !== undefined) hot.notBefore = this.#env.clock.now() + AGAIN_MS;
  }

  #seen(oid: number, chunk: number): void {
    const now = this.#env.clock.now();
    const key = keyOf({oid, chunk});
    const hot = this.#hot.get(key) ?? {since: now, at: now, notBefore: 0};
    if (now - hot.at > HOT_MS) hot.since = now;
    hot.at = now;
    if (this.#hot.size >= HOT_MAX && !this.#hot.has(key))
      for (const [other, {at}] of this.#hot) if (now - at > HOT_MS) this.#hot.delete(other);
    if (this.#hot.size < HOT_MAX) this.#hot.set(key, hot);
    // The first heartbeat tells of the second before it.
    const seconds = 1 + (now - hot.since) / 1000;
    if (seconds < this.#parts.policy().afterS || now < hot.notBefore) return;
    hot.since = now;
    this.#order(oid, chunk, now);
  }

  #order(oid: number, chunk: number, now: Ms): void {
    const {machine, policy} = this.#parts;
    const late = this.#byObject
      .get(oid)
      ?.filter((one) => !one.made && now - one.orderedAt > MAKE_MS);
    for (const copy of late ?? []) this.#forget(copy);
    const copies = this.#byObject.get(oid) ?? [];
    const same = copies.filter((one) => one.chunk === chunk);
    if (same.length >= policy().most || same.some(({made}) => !made)) return;
    if (copies.length >= COPIES_PER_OBJECT_MAX) return;
    if (copies.length === 0 && this.#byObject.size >= OBJECTS_MAX) return;
    if (this.#parts.leases().table.writer(oid) !== 0) return;
    const layout = machine.read((tx) => (tx.exists(oid) ? tx.layout(oid) : null));
    if (layout === null) return;
    const has = new Set(same.map(({server}) => server));
    const target = this.#target(oid, chunk, layout, has);
    if (target === null) return;
    const {group, slot, server} = target;
    const id = this.#next++;
    const place = {group, slot, server: server.uuid};
    const copy: Copy = {id, oid, chunk, ...place, made: false, orderedAt: now};
    this.#byObject.set(oid, [...copies, copy]);
    const its = this.#server(server.uuid);
    its.copies.set(id, copy);
    its.make.push(copy);
    this.#env.log.info('read-copy.ordered', {oid, chunk, server: server.address});
  }

  /** The server nearest to a reader; rather none that has a column of the chunk; with the fewest bytes of copies. */
  #target(oid: number, chunk: number, layout: wire.Layout, has: ReadonlySet<string>): Place | null {
    const {sessions} = this.#parts;
    const map = this.#parts.map();
    const readers = this.#parts.leases().table.readers(oid);
    const near = readers.map((id) => sessions.get(id)?.location ?? '');
    const own = ownSlots(map, oid, chunk, layout);
    let best: {place: Place; rank: number[]} | null = null;
    for (const place of slots(map)) {
      const {group, slot, server} = place;
      const {bytes = 0} = this.#servers.get(server.uuid) ?? {};
      const full = server.totalBytes === 0 || server.freeBytes < FREE_SHARE_MIN * server.totalBytes;
      if (place.state !== SLOT.ready || !server.connected || full || has.has(server.uuid)) continue;
      const rank = [
        Math.max(0, ...near.map((location) => inCommon(location, server.location ?? ''))),
        own.has(`${group}.${slot}`) ? 0 : 1,
        -bytes,
      ];
      if (best === null || before(rank, best.rank)) best = {place, rank};
    }
    return best?.place ?? null;
  }
}

type Slots = ClusterMap['groups'][number]['slots'][number];
interface Place {
  group: number;
  slot: number;
  state: Slots['state'];
  server: NonNullable<Slots['server']>;
}

function* slots(map: ClusterMap): Generator<Place> {
  for (const {id, slots} of map.groups) {
    for (const [slot, {server, state}] of slots.entries())
      if (server !== null) yield {group: id, slot, server, state};
  }
}

function ownSlots(map: ClusterMap, oid: number, chunk: number, layout: wire.Layout): Set<string> {
  const group = groupOf(layout, chunk);
  const count = map.groups.find(({id}) => id === group)?.slots.length ?? 0;
  const own = new Set<string>();
  for (let column = 0; column < layout.k + layout.m && count > 0; column++)
    own.add(`${group}.${columnSlot(oid, chunk, column, count)}`);
  return own;
}

/** The first number that differs is larger. */
function before(a: readonly number[], b: readonly number[]): boolean {
  const at = a.findIndex((value, index) => value !== b[index]);
  return at >= 0 && a[at]! > b[at]!;
}

const keyOf = ({oid, chunk}: {oid: number; chunk: number}): string => `${oid}.${chunk}`;

const toWire = ({id, chunk, group, slot, server}: Copy): wire.ReadCopy => ({
  id,
  chunk,
  group,
  slot,
  server,
});
