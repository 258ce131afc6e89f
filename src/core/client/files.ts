import {FsError} from '../base/errors.js';
import type {Segment} from '../base/pool.js';
import {sleep} from '../env/clock.js';
import {type ByteRange, EVERYTHING} from '../lease/ranges.js';
import type {Attr, OpenReply} from '../protocol/gen/wire.js';
import {LEASE, type LeaseMode, OPS, SET} from '../protocol/ops.js';
import type {Caller, OpenOptions} from './api.js';
import {blocksOf, givingWay, settledSoon} from './byte-ops.js';
import {ByteReader} from './byte-reader.js';
import type {BytePath} from './columns.js';
import type {DirectoryAhead} from './directory-ahead.js';
import type {DirtyCache} from './dirty-cache.js';
import type {Flusher} from './flusher.js';
import type {Held} from './held.js';
import {inlineOf, loadInline, readInline} from './inline.js';
import type {Journal} from './journal.js';
import type {LeaseHolder} from './lease-holder.js';
import type {LocalNames} from './local-names.js';
import type {ClientLocks} from './locks.js';
import type {NameCache} from './name-cache.js';
import type {OpenAhead} from './open-ahead.js';
import type {ReadAhead} from './read-ahead.js';
import type {Session} from './session.js';
import {LostWrites, type Syncer} from './syncer.js';
import {truncate} from './truncate.js';
import {WriteThrough} from './write-through.js';

const NO_BYTES = new Uint8Array(0);
const S_ISUID = 0o4000;
const S_ISGID = 0o2000;
const S_IXGRP = 0o010;
/** A write that waits for room looks again at the latest after this. */
const ROOM_MS = 1000;
/** A read that writes have come into so often keeps the next one from columns until it has ended. */
const OVERTAKEN_MAX = 3;

export interface FileParts {
  path: BytePath;
  session: Session;
  holder: LeaseHolder;
  cache: DirtyCache;
  flusher: Flusher;
  syncer: Syncer;
  names: NameCache;
  journal: Journal;
  locks: ClientLocks;
  ahead: OpenAhead;
  directoryAhead: DirectoryAhead;
  readAhead: ReadAhead;
  /** Bytes are with their servers when a write returns. */
  writeThrough: boolean;
  /** What all servers have in memory counts as durable. */
  replicated: boolean;
  /** Null: nothing is carried out here. */
  local: LocalNames | null;
}

/** The bytes of regular files: what `Files` of api.ts promises. */
export class FileBytes {
  readonly #parts: FileParts;
  readonly #reader: ByteReader;
  readonly #through: WriteThrough;

  constructor(parts: FileParts) {
    this.#parts = parts;
    this.#reader = new ByteReader(parts.path, parts.readAhead);
    this.#through = new WriteThrough(parts);
  }

  async create(
    parent: number,
    name: Uint8Array,
    mode: number,
    caller: Caller,
    options: {exclusive: boolean; truncate: boolean},
  ): Promise<{attr: Attr; created: boolean}> {
    const here = await this.#createHere(parent, name, mode, caller, options);
    if (here !== null) return here;
    const {session, names} = this.#parts;
    const {ticket} = this.#parts.holder;
    const change = names.begin([parent]);
    let attr: Attr;
    let created: boolean;
    try {
      const {message, resent} = await session.call(OPS.create, {
        parent,
        name,
        mode,
        rdev: 0,
        caller,
        open: true,
        exclusive: options.exclusive,
        target: new Uint8Array(0),
      });
      created = message.created;
      attr = this.#opened(message, null, ticket, resent, created);
      const {directory, directoryLease, cookie} = message;
      const known = !resent && names.granted(directory, directoryLease, ticket);
      if (!known || change.overlapped()) names.forgetEntry(parent, name);
      else names.enter(parent, name, message.attr, {cookie, cacheable: created, ticket});
    } catch (error) {
      names.forgetEntry(parent, name);
      throw error;
    } finally {
      change.end();
    }
    if (created) return {attr, created};
    if (!options.truncate) return {attr: await this.#current(attr, ticket), created};
    return {attr: await this.#truncateOpened(attr.oid, false), created};
  }

  /** Without a message, under the write lease of the directory; null: it must be asked for. */
  async #createHere(
    parent: number,
    name: Uint8Array,
    mode: number,
    caller: Caller,
    {exclusive, truncate}: {exclusive: boolean; truncate: boolean},
  ): Promise<{attr: Attr; created: boolean} | null> {
    const {local, holder} = this.#parts;
    if (local === null) return null;
    const rest = {rdev: 0, open: true, exclusive, target: NO_BYTES};
    const request = {parent, name, mode, caller, ...rest};
    const made = await local.run(OPS.create, request, [parent], () => {
      request.exclusive = true;
    });
    if (made === null) return null;
    const {attr, created, layout} = made.reply;
    if (!created) return {attr: await this.open(attr!.oid, {write: true, truncate}), created};
    const held = holder.made(attr!, layout);
    held.opens++;
    return {attr: attr!, created};
  }

  async open(oid: number, options: OpenOptions): Promise<Attr> {
    const {holder, session} = this.#parts;
    const {ahead} = this.#parts;
    const here = this.#openHere(oid, options);
    if (here !== null) ahead.opened(oid);
    else if (!options.write) ahead.asked(oid);
    if (here !== null) return options.truncate === true ? this.#truncateOpened(oid, false) : here;
    // Its reply would be from before what a yield takes along, and might offer the lease that is going.
    await holder.yielded(oid);
    const {ticket} = holder;
    const killSuidgid = options.killSuidgid === true;
    // Only the holder of the lease can cut the columns; so truncation is not left to the meta server.
    const {message, payload, resent} = await session.call(OPS.open, {
      oid,
      write: options.write,
      truncate: false,
      killSuidgid,
      inline: (holder.peek(oid)?.inline ?? null) === null,
    });
    if (killSuidgid) this.#parts.names.forgetAttr(oid);
    const attr = this.#opened(message, payload, ticket, resent);
    if (options.truncate === true) return this.#truncateOpened(oid, killSuidgid);
    return this.#current(attr, ticket);
  }

  /** Of an open. What was answered to a request of `ticket` may be from before what a yield has taken along since: it is asked for again then. */
  async #current(answered: Attr, ticket: number): Promise<Attr> {
    const {holder, session} = this.#parts;
    const {oid} = answered;
    let attr = answered;
    try {
      for (let asked = ticket; ; ) {
        const yielded = holder.yieldedSince(oid, asked);
        if (yielded === null) return attr;
        await yielded;
        asked = holder.ticket;
        const {message} = await session.call(OPS.getattr, {oid});
        attr = holder.peek(oid)?.overlay(message.attr) ?? message.attr;
      }
    } catch (error) {
      this.release(oid);
      throw error;
    }
  }

  /** Without a message: the lease is held, and everything that the meta server would answer is known. */
  #openHere(oid: number, {killSuidgid}: OpenOptions): Attr | null {
    const {holder, names, session} = this.#parts;
    const held = holder.peek(oid);
    if (held === undefined || held.layout === null) return null;
    if (held.mode === LEASE.none && !held.split) return null;
    if (held.gate !== null || held.gone || held.doomed || killSuidgid || !session.valid)
      return null;
    const attr = names.attr(oid);
    if (attr === undefined) return null;
    held.opens++;
    return attr;
  }

  #opened(
    reply: OpenReply,
    payload: Segment | null,
    ticket: number,
    resent: boolean,
    created = false,
  ): Attr {
    const {inlineBytes, copies, overlong} = reply;
    const inline = inlineOf(this.#parts.path.pool, inlineBytes, payload);
    // A reply that was kept may tell of a lease that has been recalled since.
    const mode = resent ? LEASE.none : reply.lease;
    const {layout} = reply;
    const given = {ticket, inlineBytes, inline, created, copies, overlong};
    const held = this.#parts.holder.granted(reply.attr.oid, mode, reply.attr, layout, given);
    held.opens++;
    held.toldOpens++;
    return held.overlay(reply.attr);
  }

  async #truncateOpened(oid: number, killSuidgid: boolean): Promise<Attr> {
    try {
      return await this.truncate(oid, 0, {mask: killSuidgid ? SET.killSuidgid : 0});
    } catch (error) {
      this.release(oid);
      throw error;
    }
  }

  release(oid: number): void {
    const {holder} = this.#parts;
    const held = holder.peek(oid);
    if (held === undefined || held.opens === 0) return;
    held.opens--;
    holder.tellCloses(held);
  }

  read(
    oid: number,
    offset: number,
    length: number,
    options?: {exclusive?: boolean; direct?: boolean},
  ): Promise<Segment[]> {
    const mode: LeaseMode = options?.exclusive === true ? LEASE.write : LEASE.read;
    const here = this.#parts.holder.atHand(oid, mode);
    const inline = here && readInline(this.#parts.path.pool, here, offset, length);
    if (inline !== null) return Promise.resolve(inline);
    const range = blocksOf(offset, length);
    // The kernel reads ahead for whoever reads through its cache.
    const stream = options?.direct === true;
    const run = (held: Held) => this.#readHeld(held, offset, length, stream);
    const {holder, path} = this.#parts;
    const look = () => givingWay(path, () => holder.use(oid, mode, run, range, true));
    return settledSoon(path.clock, look);
  }

  /** What was there at one moment: beside a truncation or a write, all of what was there before it, or after it. */
  async #readHeld(held: Held, offset: number, length: number, stream: boolean): Promise<Segment[]> {
    for (let tries = 0; ; tries++) {
      while (held.writeGate !== null) await held.writeGate;
      const {cuts} = held;
      const how = {stream, alone: tries >= OVERTAKEN_MAX};
      const segments = await this.#readSize(held, offset, length, how);
      if (segments !== null && cuts === held.cuts) return segments;
      this.#parts.path.slots.releaseAll(segments ?? []);
    }
  }

  /** `alone`: nothing is written to columns meanwhile. Null: a write came in between. */
  async #readSize(
    held: Held,
    offset: number,
    length: number,
    {stream, alone}: {stream: boolean; alone: boolean},
  ): Promise<Segment[] | null> {
    // What is kept with the inode is given up as a whole.
    if (held.inlineBytes === 0)
      held.recent.note(blocksOf(offset, length), this.#parts.path.clock.now());
    if (!held.sizeKnown(offset + length)) {
      // Others write further on.
      const {message} = await this.#parts.session.call(OPS.getattr, {oid: held.oid});
      held.learn(message.attr);
    }
    if (Math.min(offset + length, held.size) <= offset) return [];
    if (held.layout === null) throw new FsError('EINVAL', `object ${held.oid} has no bytes`);
    await loadInline(this.#parts.session, this.#parts.path, held);
    // No step between the size and a look at what is dirty may wait: of a write in between there would be the bytes without the size.
    const end = (): number => Math.max(offset, Math.min(offset + length, held.size));
    const inside = (): Promise<Segment[] | null> =>
      held.exclusive(() =>
        this.#reader.gather(held, offset, end(), {inside: true, direct: stream}),
      );
    if (alone) return inside();
    try {
      const to = end();
      const found = this.#reader.gather(held, offset, to, {inside: false, direct: stream});
      this.#parts.readAhead.note(held, offset, to, stream);
      return await found;
    } catch (error) {
      if (!(error instanceof FsError) || held.dirty.flushing.count === 0) throw error;
      // Columns that are being written do not agree for a moment: what could not be reconstructed can be after it.
      return inside();
    }
  }

  async write(
    oid: number,
    offset: number,
    segments: readonly Segment[],
    options: {append?: boolean; killSuidgid?: boolean} = {},
  ): Promise<number> {
    const owned = {taken: false};
    const length = segments.reduce((sum, segment) => sum + segment.length, 0);
    // The end is everybody's.
    const range = options.append === true ? EVERYTHING : blocksOf(offset, length);
    const run = (held: Held) => this.#writeHeld(held, offset, segments, {...options, range}, owned);
    try {
      for (;;) {
        const at = await this.#parts.holder.use(oid, LEASE.write, run, range);
        if (at !== -1) return at;
      }
    } finally {
      if (!owned.taken) this.#parts.path.slots.releaseAll(segments);
    }
  }

  /** Where it was written, or -1 if the lease was lost while it waited for room. */
  async #writeHeld(
    held: Held,
    offset: number,
    segments: readonly Segment[],
    options: {append?: boolean; killSuidgid?: boolean; range: ByteRange},
    owned: {taken: boolean},
  ): Promise<number> {
    if (held.layout === null) throw new FsError('EINVAL', `object ${held.oid} has no bytes`);
    if (options.killSuidgid === true) await this.#killSuidgid(held);
    const length = segments.reduce((sum, segment) => sum + segment.length, 0);
    let at: number;
    let sizeBefore: number;
    const since = this.#parts.path.clock.now();
    const delayed = length === 0 ? null : this.#through.before(held);
    if (delayed !== null) await delayed;
    for (;;) {
      while (held.writeGate !== null) await held.writeGate;
      if (!held.covers(LEASE.write, options.range)) return -1;
      at = options.append === true ? held.size : offset;
      if (at + length > Number.MAX_SAFE_INTEGER) throw new FsError('EFBIG');
      sizeBefore = held.size;
      // No step between this and the new size may wait.
      if (length === 0 || held.dirty.write(at, segments)) break;
      this.#through.noRoom(held, since);
      await this.#room();
    }
    if (length === 0) return at;
    held.recent.note(blocksOf(at, length), this.#parts.path.clock.now());
    owned.taken = true;
    this.#parts.readAhead.written(held.oid, at, at + length);
    held.wroteTo(at + length);
    held.mtime = this.#now();
    const {flusher, syncer} = this.#parts;
    flusher.wrote(held);
    syncer.plan();
    if (this.#through.wanted(held)) await this.#through.run(held, sizeBefore, at, at + length);
    return at;
  }

  async #room(): Promise<void> {
    const {cache, flusher, path} = this.#parts;
    const room = new Promise<void>((resolve) => cache.onRoom(resolve));
    flusher.press();
    // Nothing may be waited for without a bound: what frees room may have been missed.
    await Promise.race([room, sleep(path.clock, ROOM_MS)]);
  }

  #now(): {sec: number; nsec: number} {
    const ms = this.#parts.path.clock.wall();
    const sec = Math.floor(ms / 1000);
    return {sec, nsec: Math.floor((ms - sec * 1000) * 1e6)};
  }

  async #killSuidgid(held: Held): Promise<void> {
    const mode = held.attr?.mode ?? S_ISUID;
    if ((mode & S_ISUID) === 0 && (mode & (S_ISGID | S_IXGRP)) !== (S_ISGID | S_IXGRP)) return;
    const {message} = await this.#parts.session.call(OPS.setattr, {
      oid: held.oid,
      mask: SET.killSuidgid,
    });
    held.learn(message.attr);
    this.#parts.names.forgetAttr(held.oid);
  }

  #report(held: Held): void {
    const {error} = held;
    if (error === null) return;
    held.error = null;
    if (held.retryAt > 0) this.#through.giveUp(held, error);
    throw error;
  }

  async flush(oid: number): Promise<void> {
    const held = this.#parts.holder.peek(oid);
    if (held !== undefined) this.#report(held);
  }

  async fsync(oid: number, dataOnly = false): Promise<void> {
    const {flusher, session, replicated} = this.#parts;
    const held = this.#parts.holder.peek(oid);
    if (held === undefined || held.layout === null) {
      await flusher.tellNames();
      // A directory is given for writing when what others did to it is on stable storage.
      const durable = session.durable && this.#parts.names.mine(oid);
      if (!replicated && !durable) await session.call(OPS.syncMeta, {});
      this.#reportNames(oid);
      return;
    }
    if (held.error === null) {
      try {
        await this.#makeDurable(held, dataOnly);
      } catch (error) {
        held.error ??= error instanceof FsError ? error : new FsError('EIO');
        // What is dirty has nothing to do with what was lost behind it.
        if (!(error instanceof LostWrites)) held.retryAt = Math.max(held.retryAt, 1);
      }
    }
    this.#report(held);
    if (held.gone) throw new FsError('ESTALE', `object ${oid} is gone`);
    this.#reportNames(oid);
  }

  async #makeDurable(held: Held, dataOnly: boolean): Promise<void> {
    const {flusher, syncer, journal, replicated} = this.#parts;
    const {losses} = held;
    /** Bytes are found without anything that the meta server is to be told. */
    const found = (): boolean => dataOnly && held.sizeDurable && !journal.touches(held.oid);
    const durable = await flusher.flush(held, replicated ? false : found() ? 'bytes' : true);
    const told = found() || ((durable || replicated) && held.news() === null);
    await Promise.all([
      replicated ? null : syncer.sync(held, false, losses),
      told ? null : flusher.tell([held], !replicated),
    ]);
  }

  async syncAll(): Promise<void> {
    const {flusher, holder, syncer} = this.#parts;
    await flusher.flushAll();
    const helds = [...holder.all()];
    await Promise.all(helds.filter((held) => held.unsynced.size > 0).map((h) => syncer.sync(h)));
    await flusher.tell(helds, true);
    this.#reportNames();
  }

  /** Whoever syncs an object is told that changes of its name, or of names in it, were lost with a session; without one, of any. */
  #reportNames(oid?: number): void {
    if (this.#parts.journal.takeLost(oid)) throw new FsError('EIO', 'changes of names were lost');
  }

  /** Cuts or extends; `set` goes along to the meta server. */
  truncate(oid: number, size: number, set: Parameters<typeof truncate>[3]): Promise<Attr> {
    return this.#parts.holder
      .use(oid, LEASE.write, (held) => truncate(this.#parts, held, size, set))
      .finally(() => this.#parts.names.forgetAttr(oid));
  }
}
