import {FsError} from '../base/errors.js';
import type {
  Attr,
  Dirent,
  Layout,
  SetattrRequest,
  StatfsReply,
  Time,
} from '../protocol/gen/wire.js';
import {LEASE, OPS, type Op, SET} from '../protocol/ops.js';
import type {Caller, DirectoryPage, Namespace, SetAttributes} from './api.js';
import type {FileBytes} from './files.js';
import type {Flusher} from './flusher.js';
import type {LeaseHolder} from './lease-holder.js';
import type {Session} from './session.js';

const EMPTY = new Uint8Array(0);

/** Names and attributes: what `Namespace` of api.ts promises. The meta server decides; bytes' sizes are corrected here. */
export class MetaNamespace implements Namespace {
  readonly #session: Session;
  readonly #holder: LeaseHolder;
  readonly #files: FileBytes;
  readonly #flusher: Flusher;

  constructor(session: Session, holder: LeaseHolder, files: FileBytes, flusher: Flusher) {
    this.#session = session;
    this.#holder = holder;
    this.#files = files;
    this.#flusher = flusher;
  }

  async #call<Q, R>(op: Op<Q, R>, request: Partial<Q>): Promise<R> {
    return (await this.#session.call(op, request)).message;
  }

  #seen(attr: Attr): Attr {
    const held = this.#holder.peek(attr.oid);
    return held === undefined ? attr : held.learn(attr);
  }

  /** As `#seen`; `ask` is called again if the answer was overtaken by this client's giving up its write lease. */
  async #current(ask: () => Promise<{attr: Attr}>): Promise<Attr> {
    for (;;) {
      const {ticket} = this.#holder;
      const {attr} = await ask();
      const yielded = this.#holder.yieldedSince(attr.oid, ticket);
      if (yielded === null) return this.#seen(attr);
      await yielded;
    }
  }

  lookup(parent: number, name: Uint8Array): Promise<Attr> {
    return this.#current(() => this.#call(OPS.lookup, {parent, name}));
  }

  getattr(oid: number): Promise<Attr> {
    return this.#current(() => this.#call(OPS.getattr, {oid}));
  }

  async setattr(oid: number, set: SetAttributes): Promise<Attr> {
    const request = setRequest(oid, set);
    if (set.size !== undefined) return this.#files.truncate(oid, set.size, request);
    const held = this.#holder.peek(oid);
    if (held !== undefined && held.mode === LEASE.write && held.mtime !== null) {
      // The meta server stamps and orders this change; what was written before belongs before it.
      if (set.mtime !== undefined) held.mtime = null;
      else await this.#flusher.tell([held], false);
    }
    return this.#seen((await this.#call(OPS.setattr, request)).attr);
  }

  async mkdir(parent: number, name: Uint8Array, mode: number, caller: Caller): Promise<Attr> {
    return (await this.#call(OPS.mkdir, entry(parent, name, mode, caller))).attr;
  }

  async mknod(
    parent: number,
    name: Uint8Array,
    mode: number,
    rdev: number,
    caller: Caller,
  ): Promise<Attr> {
    return (await this.#call(OPS.mknod, {...entry(parent, name, mode, caller), rdev})).attr;
  }

  async symlink(
    parent: number,
    name: Uint8Array,
    target: Uint8Array,
    caller: Caller,
  ): Promise<Attr> {
    return (await this.#call(OPS.symlink, {...entry(parent, name, 0o777, caller), target})).attr;
  }

  async readlink(oid: number): Promise<Uint8Array> {
    return (await this.#call(OPS.readlink, {oid})).target;
  }

  async link(oid: number, parent: number, name: Uint8Array): Promise<Attr> {
    return this.#seen((await this.#call(OPS.link, {oid, parent, name})).attr);
  }

  async unlink(parent: number, name: Uint8Array): Promise<void> {
    const {oid, nlink} = await this.#call(OPS.unlink, {parent, name, directory: false});
    if (nlink === 0) this.#doubt(oid);
  }

  async rmdir(parent: number, name: Uint8Array): Promise<void> {
    await this.#call(OPS.unlink, {parent, name, directory: true});
  }

  async rename(
    parent: number,
    name: Uint8Array,
    newParent: number,
    newName: Uint8Array,
    flags: number,
  ): Promise<void> {
    // If it replaces a file of which something is dirty here, that need not be written.
    const replaced =
      flags === 0 && this.#flusher.dirtyCount > 0
        ? await this.lookup(newParent, newName).catch(() => null)
        : null;
    await this.#call(OPS.rename, {parent, name, newParent, newName, flags});
    if (replaced !== null && replaced.nlink === 1) this.#doubt(replaced.oid);
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
        if (!gone) return;
        this.#holder.drop(held);
        this.#flusher.forget(held);
      });
  }

  async readdir(
    oid: number,
    cookie: number,
    maxEntries: number,
    attributes: boolean,
  ): Promise<DirectoryPage> {
    const page = await this.#call(OPS.readdir, {oid, cookie, maxEntries, attributes});
    const overlay = (entry: Dirent): Dirent =>
      entry.attr === null ? entry : {...entry, attr: this.#seen(entry.attr)};
    const entries = attributes ? page.entries.map(overlay) : page.entries;
    return {entries, end: page.end, parent: page.parent};
  }

  statfs(): Promise<StatfsReply> {
    return this.#call(OPS.statfs, {});
  }

  async getxattr(oid: number, name: Uint8Array): Promise<Uint8Array> {
    return (await this.#call(OPS.getxattr, {oid, name, value: EMPTY, flags: 0})).value;
  }

  async setxattr(oid: number, name: Uint8Array, value: Uint8Array, flags: number): Promise<void> {
    await this.#call(OPS.setxattr, {oid, name, value, flags});
  }

  async listxattr(oid: number): Promise<Uint8Array[]> {
    return (await this.#call(OPS.listxattr, {oid})).names;
  }

  async removexattr(oid: number, name: Uint8Array): Promise<void> {
    await this.#call(OPS.removexattr, {oid, name, value: EMPTY, flags: 0});
  }

  async layoutGet(oid: number): Promise<{layout: Layout; groupCount: number}> {
    return this.#call(OPS.layoutGet, {oid});
  }

  async layoutSet(
    oid: number,
    layout: {k?: number; m?: number; unitBytes?: number; chunkBytes?: number; groupCount?: number},
  ): Promise<void> {
    await this.#call(OPS.layoutSet, {oid, ...layout});
  }
}

function entry(parent: number, name: Uint8Array, mode: number, caller: Caller) {
  return {parent, name, mode, rdev: 0, caller, open: false, exclusive: true, target: EMPTY};
}

function setRequest(oid: number, set: SetAttributes): Partial<SetattrRequest> {
  const request: Partial<SetattrRequest> = {oid};
  let mask = 0;
  if (set.mode !== undefined) {
    mask |= SET.mode;
    request.mode = set.mode;
  }
  if (set.uid !== undefined) {
    mask |= SET.uid;
    request.uid = set.uid;
  }
  if (set.gid !== undefined) {
    mask |= SET.gid;
    request.gid = set.gid;
  }
  const time = (value: Time | 'now', given: number, now: number): Time | null => {
    mask |= value === 'now' ? now : given;
    return value === 'now' ? null : value;
  };
  if (set.atime !== undefined) request.atime = time(set.atime, SET.atime, SET.atimeNow);
  if (set.mtime !== undefined) request.mtime = time(set.mtime, SET.mtime, SET.mtimeNow);
  if (set.ctime !== undefined) {
    mask |= SET.ctime;
    request.ctime = set.ctime;
  }
  if (set.killSuidgid === true) mask |= SET.killSuidgid;
  request.mask = mask;
  return request;
}
