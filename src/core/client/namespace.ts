import {FsError} from '../base/errors.js';
import type {
  Attr,
  AttrReply,
  CreateRequest,
  Dirent,
  EntryReply,
  Layout,
  LinkRequest,
  SetattrRequest,
  StatfsReply,
} from '../protocol/gen/wire.js';
import {LEASE, OPS, type Op} from '../protocol/ops.js';
import type {Caller, DirectoryPage, Namespace, SetAttributes} from './api.js';
import type {DirectoryAhead} from './directory-ahead.js';
import type {FileBytes, FileParts} from './files.js';
import type {Flusher} from './flusher.js';
import type {LeaseHolder} from './lease-holder.js';
import type {LocalNames} from './local-names.js';
import {isDirectory, type NameCache, nameKey} from './name-cache.js';
import type {Session} from './session.js';
import {NO_ATTRIBUTES, setRequest} from './set-request.js';

/** renameat2(2). */
const EXCHANGE = 2;
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
/** S_IFMT >> 12. */
const DIRECTORY = 4;
const EMPTY = new Uint8Array(0);
/** Names that are read ahead of lookups. */
const AHEAD_ENTRIES = 256;

type Entered = Op<CreateRequest | LinkRequest, EntryReply>;

/**
 * Names and attributes: what `Namespace` of api.ts promises. From the cache where a lease covers them, else the meta server
 * decides; bytes' sizes are corrected here.
 */
export class MetaNamespace implements Namespace {
  readonly #session: Session;
  readonly #holder: LeaseHolder;
  readonly #files: FileBytes;
  readonly #flusher: Flusher;
  readonly #names: NameCache;
  readonly #local: LocalNames | null;
  readonly #ahead: DirectoryAhead;

  constructor(parts: FileParts, files: FileBytes) {
    this.#local = parts.local;
    if (parts.local !== null) parts.local.look = (parent, name) => this.#ask(parent, name);
    this.#session = parts.session;
    this.#holder = parts.holder;
    this.#flusher = parts.flusher;
    this.#names = parts.names;
    this.#ahead = parts.directoryAhead;
    this.#files = files;
  }

  async #call<Q, R>(op: Op<Q, R>, request: Partial<Q>): Promise<R> {
    return (await this.#session.call(op, request)).message;
  }

  #seen(attr: Attr): Attr {
    const held = this.#holder.peek(attr.oid);
    return held === undefined ? attr : held.learn(attr);
  }

  /** `ask` is called again if the answer was overtaken by this client's giving up its write lease. */
  async #current<R extends {attr: Attr | null}>(
    ask: (ticket: number) => Promise<R>,
  ): Promise<{reply: R; ticket: number}> {
    for (;;) {
      const {ticket} = this.#holder;
      const reply = await ask(ticket);
      const {attr} = reply;
      const yielded = attr === null ? null : this.#holder.yieldedSince(attr.oid, ticket);
      if (yielded === null) return {reply, ticket};
      await yielded;
    }
  }

  async lookup(parent: number, name: Uint8Array): Promise<Attr> {
    let known = this.#names.lookup(parent, name);
    if (known === undefined) {
      const coming = this.#ahead.coming(parent);
      if (coming === null) return this.#ask(parent, name);
      await coming;
      known = this.#names.lookup(parent, name);
    }
    this.#ahead.listed(parent);
    if (known === null) throw new FsError('ENOENT');
    return known ?? this.#ask(parent, name);
  }

  async #ask(parent: number, name: Uint8Array): Promise<Attr> {
    const {reply, ticket} = await this.#current(() => this.#call(OPS.lookup, {parent, name}));
    if (this.#names.granted(reply.directory, reply.directoryLease, ticket))
      this.#enter(parent, name, reply, ticket);
    const next = this.#names.missed(parent);
    // Whoever looks something up in one directory after another walks, too.
    if (this.#names.extent(parent)?.misses === 1) this.#ahead.asked(parent);
    if (next >= 0) await this.#readPage(parent, next, AHEAD_ENTRIES, true).catch(() => {});
    if (reply.attr === null) throw new FsError('ENOENT');
    const {oid} = reply.attr;
    // Changed here since it was asked: that is newer.
    const newer = this.#names.known(parent, name)?.oid === oid ? this.#names.attr(oid) : undefined;
    return newer ?? this.#seen(reply.attr);
  }

  #enter(parent: number, name: Uint8Array, reply: EntryReply, ticket: number): void {
    const {attr, lease, cookie, cacheable} = reply;
    if (attr !== null && lease >= LEASE.read) this.#names.granted(attr, lease, ticket);
    this.#names.enter(parent, name, attr, {cookie, cacheable, ticket});
  }

  async getattr(oid: number): Promise<Attr> {
    const known = this.#names.attr(oid);
    if (known !== undefined) return known;
    const {reply, ticket} = await this.#current(() => this.#call(OPS.getattr, {oid}));
    this.#learn(reply, ticket);
    return this.#seen(reply.attr);
  }

  #learn({attr, lease, under}: AttrReply, ticket: number): void {
    if (isDirectory(attr)) this.#names.granted(attr, lease, ticket);
    else this.#names.learn(attr, under, ticket);
  }

  async setattr(oid: number, set: SetAttributes): Promise<Attr> {
    const request = setRequest(oid, set);
    if (set.size !== undefined) return this.#files.truncate(oid, set.size, request);
    const here = await this.#setattrHere(oid, set, request);
    if (here !== null) return here;
    const held = this.#holder.peek(oid);
    if (held?.writes === true && held.mtime !== null) {
      // The meta server stamps and orders this change; what was written before belongs before it.
      if (set.mtime !== undefined) held.mtime = null;
      else await this.#flusher.tell([held], false);
    }
    const {ticket} = this.#holder;
    try {
      const {message, resent} = await this.#session.call(OPS.setattr, request);
      if (resent) this.#names.forgetAttr(oid);
      else this.#learn(message, ticket);
      return this.#seen(message.attr);
    } catch (error) {
      this.#names.forgetAttr(oid);
      throw error;
    }
  }

  async #setattrHere(
    oid: number,
    set: SetAttributes,
    request: Partial<SetattrRequest>,
  ): Promise<Attr | null> {
    const covers = this.#names.coveredBy(oid);
    if (this.#local === null || covers === 0) return null;
    const whole = {...NO_ATTRIBUTES, ...request, oid};
    const done = await this.#local.run(OPS.setattr, whole, [covers]);
    if (done === null) return null;
    const held = this.#holder.peek(oid);
    // What was written before is older than the time that was set.
    if (held !== undefined && set.mtime !== undefined) held.mtime = null;
    return this.#seen(done.reply.attr!);
  }

  /** A new name for what is not a regular file, or for one that is not opened. */
  async #makeHere(op: Entered, request: CreateRequest): Promise<Attr | null> {
    if (this.#local === null) return null;
    const done = await this.#local.run(op as Op<CreateRequest, EntryReply>, request, [
      request.parent,
    ]);
    return done === null ? null : done.reply.attr!;
  }

  /** A change of one name, whose answer is what is under it now. */
  async #entered(
    op: Op<CreateRequest | LinkRequest, EntryReply>,
    parent: number,
    name: Uint8Array,
    request: Partial<CreateRequest> & Partial<LinkRequest>,
  ): Promise<Attr> {
    const {ticket} = this.#holder;
    const change = this.#names.begin([parent]);
    try {
      const {message, resent} = await this.#session.call(op, request);
      const {attr, directory, directoryLease} = message;
      const known = !resent && this.#names.granted(directory, directoryLease, ticket);
      if (!known || change.overlapped()) this.#names.forgetEntry(parent, name);
      else this.#enter(parent, name, message, ticket);
      return attr!;
    } catch (error) {
      this.#names.forgetEntry(parent, name);
      throw error;
    } finally {
      change.end();
    }
  }

  async mkdir(parent: number, name: Uint8Array, mode: number, caller: Caller): Promise<Attr> {
    const request = entry(parent, name, mode, caller);
    const here = await this.#makeHere(OPS.mkdir as Entered, request);
    if (here !== null) return here;
    const attr = await this.#entered(OPS.mkdir as Entered, parent, name, request);
    // Nobody else can have put anything into it before the lease came with the answer.
    if (this.#names.leased(attr.oid)) this.#names.empty(attr.oid, parent);
    return attr;
  }

  async mknod(
    parent: number,
    name: Uint8Array,
    mode: number,
    rdev: number,
    caller: Caller,
  ): Promise<Attr> {
    const request = {...entry(parent, name, mode, caller), rdev};
    // A regular file gets a lease when it is opened.
    const regular = (mode & S_IFMT) === 0 || (mode & S_IFMT) === S_IFREG;
    const here = regular ? null : await this.#makeHere(OPS.mknod as Entered, request);
    if (here !== null) return here;
    return this.#entered(OPS.mknod as Entered, parent, name, request);
  }

  async symlink(
    parent: number,
    name: Uint8Array,
    target: Uint8Array,
    caller: Caller,
  ): Promise<Attr> {
    const request = {...entry(parent, name, 0o777, caller), target};
    const here = await this.#makeHere(OPS.symlink as Entered, request);
    if (here !== null) return here;
    return this.#entered(OPS.symlink as Entered, parent, name, request);
  }

  async readlink(oid: number): Promise<Uint8Array> {
    return (await this.#call(OPS.readlink, {oid})).target;
  }

  async link(oid: number, parent: number, name: Uint8Array): Promise<Attr> {
    // Where all its names are in one directory, the lease on that one covers it.
    if (this.#local !== null && this.#names.coveredBy(oid) === parent) {
      const done = await this.#local.run(OPS.link, {oid, parent, name}, [parent]);
      if (done !== null) return this.#seen(done.reply.attr!);
    }
    const attr = await this.#entered(OPS.link as Entered, parent, name, {oid, parent, name});
    return this.#seen(attr);
  }

  unlink(parent: number, name: Uint8Array): Promise<void> {
    return this.#unlink(parent, name, false);
  }

  rmdir(parent: number, name: Uint8Array): Promise<void> {
    return this.#unlink(parent, name, true);
  }

  /** False: the meta server must be asked. */
  async #unlinkHere(parent: number, name: Uint8Array, directory: boolean): Promise<boolean> {
    if (this.#local === null) return false;
    const known = directory ? 0 : (this.#names.known(parent, name)?.oid ?? 0);
    const victim = this.#holder.peek(known);
    // What is open lives on, and it is cheaper to say so before the meta server asks.
    if (victim !== undefined) await this.#holder.tellOpen(victim);
    const request = {parent, name, directory, idle: directory, oid: 0};
    const done = await this.#local.run(OPS.unlink, request, [parent], ({orphan}) => {
      if (orphan === null) return;
      request.oid = orphan.oid;
      if (!directory) request.idle = this.#holder.giveAway(orphan.oid);
    });
    return done !== null;
  }

  async #unlink(parent: number, name: Uint8Array, directory: boolean): Promise<void> {
    if (await this.#unlinkHere(parent, name, directory)) return;
    const {ticket} = this.#holder;
    const change = this.#names.begin([parent]);
    const victim = directory ? 0 : (this.#names.known(parent, name)?.oid ?? 0);
    const held = victim === 0 ? undefined : this.#holder.peek(victim);
    // Else it would be asked for by a recall.
    if (held !== undefined) await this.#holder.tellOpen(held);
    const lent = victim === 0 ? null : this.#holder.lend(victim);
    let unused = false;
    try {
      const request = {parent, name, directory, idle: lent?.idle ?? false, oid: victim};
      const {message, resent} = await this.#session.call(OPS.unlink, request);
      const {oid, nlink} = message;
      unused = message.unused;
      this.#names.forgetAttr(oid);
      if (directory) this.#names.forget(oid);
      const known =
        !resent && this.#names.granted(message.directory, message.directoryLease, ticket);
      if (!known || change.overlapped()) this.#names.forgetEntry(parent, name);
      else this.#names.enter(parent, name, null, {cookie: 0, cacheable: false, ticket});
      if (nlink === 0 && !directory) {
        if (!unused) this.#doubt(oid);
        else if (lent?.idle !== true) this.#ended(oid);
      }
    } catch (error) {
      this.#names.forgetEntry(parent, name);
      throw error;
    } finally {
      lent?.end(unused && lent.idle);
      change.end();
    }
  }

  async rename(
    parent: number,
    name: Uint8Array,
    newParent: number,
    newName: Uint8Array,
    flags: number,
  ): Promise<void> {
    if (this.#local !== null) {
      const request = {parent, name, newParent, newName, flags};
      const directories = parent === newParent ? [parent] : [parent, newParent];
      const here = flags !== EXCHANGE && this.#plainRename(parent, name, newParent, newName);
      if (here && (await this.#local.run(OPS.rename, request, directories)) !== null) return;
    }
    // If it replaces a file of which something is dirty here, that need not be written.
    const replaced =
      flags === 0 && this.#flusher.dirtyCount > 0
        ? await this.lookup(newParent, newName).catch(() => null)
        : null;
    const names = this.#names;
    const {ticket} = this.#holder;
    const change = names.begin(parent === newParent ? [parent] : [parent, newParent]);
    try {
      const request = {parent, name, newParent, newName, flags};
      const {message, resent} = await this.#session.call(OPS.rename, request);
      const from = names.known(parent, name);
      const to = names.known(newParent, newName);
      for (const end of [from, to]) {
        if (end === undefined) continue;
        names.forgetAttr(end.oid);
        names.forget(end.oid);
      }
      const known =
        !resent &&
        [
          names.granted(message.directory, message.directoryLease, ticket),
          names.granted(message.newDirectory, message.newDirectoryLease, ticket),
        ].every(Boolean);
      // Two names of one object stay both as they are.
      const plain = flags === 0 && from !== undefined && from.oid !== 0 && from.oid !== to?.oid;
      if (known && plain && to !== undefined && !change.overlapped()) {
        const {oid, type} = from;
        names.moved(newParent, newName, {oid, type, cookie: message.cookie});
        names.moved(parent, name, {oid: 0, type: 0, cookie: 0});
      } else {
        names.forgetEntry(parent, name);
        names.forgetEntry(newParent, newName);
      }
    } catch (error) {
      names.forgetEntry(parent, name);
      names.forgetEntry(newParent, newName);
      throw error;
    } finally {
      change.end();
    }
    if (replaced !== null && replaced.nlink === 1) this.#doubt(replaced.oid);
  }

  /** Directories that go elsewhere, and those that are replaced, concern more than the directories that the names are in. */
  #plainRename(parent: number, name: Uint8Array, newParent: number, newName: Uint8Array): boolean {
    const from = this.#names.known(parent, name);
    const to = this.#names.known(newParent, newName);
    if (to?.type === DIRECTORY) return false;
    return from?.type !== DIRECTORY || parent === newParent;
  }

  /** The last name went. If nobody has the object open, what is dirty of it must not make columns any more. */
  #doubt(oid: number): void {
    const held = this.#holder.peek(oid);
    if (held === undefined || held.opens > 0) return;
    held.doomed = true;
    this.#call(OPS.getattr, {oid})
      .then(
        () => false,
        (error: unknown) => error instanceof FsError && ['ENOENT', 'ESTALE'].includes(error.errno),
      )
      .then((gone) => {
        held.doomed = false;
        if (gone) this.#ended(oid);
      });
  }

  /** Nobody needs its bytes any more. */
  #ended(oid: number): void {
    const held = this.#holder.peek(oid);
    if (held === undefined || held.opens > 0) return;
    this.#holder.drop(held);
    this.#flusher.forget(held);
  }

  async readdir(
    oid: number,
    cookie: number,
    maxEntries: number,
    attributes: boolean,
  ): Promise<DirectoryPage> {
    let known = this.#names.page(oid, cookie, maxEntries, attributes);
    const coming = cookie === 0 && known === undefined ? this.#ahead.coming(oid) : null;
    if (coming !== null) {
      await coming;
      known = this.#names.page(oid, cookie, maxEntries, attributes);
    }
    if (known !== undefined) {
      if (cookie === 0) this.#ahead.listed(oid);
      return known;
    }
    const page = await this.#readPage(oid, cookie, maxEntries, attributes);
    if (page.leased && cookie === 0) this.#ahead.asked(oid);
    return page;
  }

  async #readPage(
    oid: number,
    cookie: number,
    maxEntries: number,
    attributes: boolean,
  ): Promise<DirectoryPage> {
    const {ticket} = this.#holder;
    // Whoever lists a directory looks at what is in it next.
    const page = await this.#call(OPS.readdir, {oid, cookie, maxEntries, attributes: true});
    const granted = this.#names.granted(page.directory, page.directoryLease, ticket);
    if (granted) this.#names.enterPage(oid, cookie, page, ticket);
    const overlay = (entry: Dirent): Dirent =>
      entry.attr === null ? entry : {...entry, attr: this.#seen(entry.attr)};
    const entries = attributes ? page.entries.map(overlay) : page.entries;
    const leased = granted && this.#names.leased(oid);
    return {entries, end: page.end, parent: page.parent, leased};
  }

  statfs(): Promise<StatfsReply> {
    return this.#call(OPS.statfs, {});
  }

  async getxattr(oid: number, name: Uint8Array): Promise<Uint8Array> {
    // Every `ls -l` asks; layout attributes are there without being stored.
    if (this.#names.attr(oid)?.xattrs === false && !nameKey(name).startsWith('user.cpfs.'))
      throw new FsError('ENODATA');
    return (await this.#call(OPS.getxattr, {oid, name, value: EMPTY, flags: 0})).value;
  }

  async setxattr(oid: number, name: Uint8Array, value: Uint8Array, flags: number): Promise<void> {
    await this.#changingXattr(OPS.setxattr, {oid, name, value, flags});
  }

  async listxattr(oid: number): Promise<Uint8Array[]> {
    if (this.#names.attr(oid)?.xattrs === false) return [];
    return (await this.#call(OPS.listxattr, {oid})).names;
  }

  async removexattr(oid: number, name: Uint8Array): Promise<void> {
    await this.#changingXattr(OPS.removexattr, {oid, name, value: EMPTY, flags: 0});
  }

  async layoutGet(oid: number): Promise<{layout: Layout; groupCount: number}> {
    return this.#call(OPS.layoutGet, {oid});
  }

  async layoutSet(
    oid: number,
    layout: {k?: number; m?: number; unitBytes?: number; chunkBytes?: number; groupCount?: number},
  ): Promise<void> {
    await this.#changingXattr(OPS.layoutSet, {oid, ...layout});
  }

  /** With it what a directory gives to new files may change: none is made here before that has been asked for again. */
  async #changingXattr<Q extends {oid: number}, R>(op: Op<Q, R>, request: Q): Promise<void> {
    const {oid} = request;
    const {end} = this.#names.begin([oid]);
    try {
      await this.#call(op, request);
    } finally {
      end();
      this.#names.forgetAttr(oid);
    }
  }
}

function entry(parent: number, name: Uint8Array, mode: number, caller: Caller) {
  return {parent, name, mode, rdev: 0, caller, open: false, exclusive: true, target: EMPTY};
}
