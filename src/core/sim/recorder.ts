import {FsError, messageOf} from '../base/errors.js';
import type {BufferPool, Segment} from '../base/pool.js';
import type {Client, LockWanted} from '../client/api.js';
import type {LockKind} from '../lock/range-locks.js';
import type {Attr} from '../protocol/gen/wire.js';
import {type Call, ONLY_OID, type Outcome, type Seen} from './call.js';
import type {FullDisks} from './full-disks.js';
import type {Entry, History} from './history.js';
import type {LockWatch} from './lock-watch.js';
import {type Scheduler, SimFailure} from './scheduler.js';

const ROOT = {uid: 0, gid: 0};
const WRITE_BYTES_MAX = 128 * 1024;
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const bytesOf = (name: string): Uint8Array => encoder.encode(name);
const TYPE_FILE = 0o100000;
const TYPE = 0o170000;

/** What the model compares. */
function seen(attr: Attr): Seen {
  const file = (attr.mode & TYPE) === TYPE_FILE;
  return {oid: attr.oid, mode: attr.mode, nlink: attr.nlink, size: file ? attr.size : 0};
}

/** What programs call. */
export type Recording = Pick<Recorder, keyof Recorder>;

export type Answer<K extends string> = Extract<Outcome, Record<K, unknown>>;

/** A client whose every call and outcome goes into the history. A call that is refused throws its FsError again. */
export class Recorder {
  /** Which life of which client. */
  readonly life: number;
  readonly #client: Client;
  readonly #pool: BufferPool;
  readonly #history: History;
  readonly #scheduler: Scheduler;
  readonly #locks: LockWatch;
  /** Opens are for reading only, every other one; what writes anyway asks for the lease then. */
  readonly #readsOnly: boolean;
  readonly #full: FullDisks | null;
  #lastOwner = 0;

  constructor(
    life: number,
    client: Client,
    pool: BufferPool,
    history: History,
    scheduler: Scheduler,
    locks: LockWatch,
    readsOnly = false,
    full: FullDisks | null = null,
  ) {
    this.#full = full;
    this.#readsOnly = readsOnly;
    this.#locks = locks;
    this.life = life;
    this.#client = client;
    this.#pool = pool;
    this.#history = history;
    this.#scheduler = scheduler;
  }

  async lookup(parent: number, name: string): Promise<Seen> {
    const call = {kind: 'lookup', client: this.life, parent, name} as const;
    return (await this.#attr(call, () => this.#client.lookup(parent, bytesOf(name)))).attr;
  }

  async getattr(oid: number): Promise<Seen> {
    const call = {kind: 'getattr', client: this.life, oid} as const;
    return (await this.#attr(call, () => this.#client.getattr(oid))).attr;
  }

  /** Two calls if there is something to truncate: its name may go, and others may write, between finding it and cutting it. */
  async create(
    parent: number,
    name: string,
    {exclusive, truncate}: {exclusive: boolean; truncate: boolean},
  ): Promise<Answer<'attr'>> {
    const options = {exclusive, truncate: false};
    const call = {kind: 'create', client: this.life, parent, name, ...options} as const;
    const made = await this.#make(call, async () => {
      const reply = await this.#client.create(parent, bytesOf(name), 0o644, ROOT, options);
      return {attr: seen(reply.attr), created: reply.created};
    });
    if (truncate && !made.created) await this.truncate(made.attr.oid, 0);
    return made;
  }

  async mkdir(parent: number, name: string): Promise<Seen> {
    const call = {kind: 'mkdir', client: this.life, parent, name} as const;
    const run = (): Promise<Attr> => this.#client.mkdir(parent, bytesOf(name), 0o755, ROOT);
    return (await this.#make(call, async () => ({attr: seen(await run())}))).attr;
  }

  async symlink(parent: number, name: string, target: string): Promise<Seen> {
    const call = {kind: 'symlink', client: this.life, parent, name, target} as const;
    const run = (): Promise<Attr> =>
      this.#client.symlink(parent, bytesOf(name), bytesOf(target), ROOT);
    return (await this.#make(call, async () => ({attr: seen(await run())}))).attr;
  }

  readlink(oid: number): Promise<Answer<'target'>> {
    return this.#do({kind: 'readlink', client: this.life, oid}, async () => ({
      target: decoder.decode(await this.#client.readlink(oid)),
    }));
  }

  async link(oid: number, parent: number, name: string): Promise<Seen> {
    const call = {kind: 'link', client: this.life, oid, parent, name} as const;
    return (await this.#attr(call, () => this.#client.link(oid, parent, bytesOf(name)))).attr;
  }

  async unlink(parent: number, name: string): Promise<void> {
    const call = {kind: 'unlink', client: this.life, parent, name} as const;
    await this.#plain(call, () => this.#client.unlink(parent, bytesOf(name)));
  }

  async rmdir(parent: number, name: string): Promise<void> {
    const call = {kind: 'rmdir', client: this.life, parent, name} as const;
    await this.#plain(call, () => this.#client.rmdir(parent, bytesOf(name)));
  }

  async rename(
    parent: number,
    name: string,
    newParent: number,
    newName: string,
    flags: number,
  ): Promise<void> {
    const call = {
      kind: 'rename',
      client: this.life,
      parent,
      name,
      newParent,
      newName,
      flags,
    } as const;
    await this.#plain(call, () =>
      this.#client.rename(parent, bytesOf(name), newParent, bytesOf(newName), flags),
    );
  }

  readdir(oid: number): Promise<Answer<'entries'>> {
    return this.#do({kind: 'readdir', client: this.life, oid}, async () => {
      const page = await this.#client.readdir(oid, 0, 1000, false);
      if (!page.end) throw new SimFailure('a directory of a few names does not fit a page');
      const entries = page.entries.map((entry) => ({
        name: decoder.decode(entry.name),
        oid: entry.oid,
        type: entry.type,
      }));
      return {entries};
    });
  }

  /** `reads`: it is for reading only. */
  async open(oid: number, truncate: boolean, reads = false): Promise<Seen> {
    const call = {kind: 'open', client: this.life, oid, truncate} as const;
    const may = !reads && (!this.#readsOnly || this.#history.length % 2 === 0);
    const write = truncate || may;
    return (await this.#attr(call, () => this.#client.open(oid, {write, truncate}))).attr;
  }

  release(oid: number): void {
    const entry = this.#history.begin(
      {kind: 'release', client: this.life, oid},
      this.#scheduler.now,
    );
    this.#client.release(oid);
    this.#history.end(entry, {done: true});
  }

  read(oid: number, offset: number, length: number, reads = false): Promise<Answer<'bytes'>> {
    return this.#do({kind: 'read', client: this.life, oid, offset, length}, async () => {
      // As through a handle that may write, every other time.
      const exclusive = !reads && this.#history.length % 2 === 0;
      const segments = await this.#client.read(oid, offset, length, {exclusive});
      const bytes = new Uint8Array(segments.reduce((sum, one) => sum + one.length, 0));
      let at = 0;
      for (const segment of segments) {
        bytes.set(this.#pool.view(segment.offset, segment.length), at);
        at += segment.length;
        this.#pool.release(segment.slot);
      }
      return {bytes};
    });
  }

  async write(oid: number, offset: number, bytes: Uint8Array, append: boolean): Promise<void> {
    const segment = await this.#segment(bytes);
    const call = {kind: 'write', client: this.life, oid, offset, bytes, append} as const;
    await this.#do(call, async () => ({
      offset: await this.#client.write(oid, offset, [segment], {append}),
    }));
  }

  async truncate(oid: number, size: number): Promise<void> {
    const call = {kind: 'truncate', client: this.life, oid, size} as const;
    await this.#attr(call, () => this.#client.setattr(oid, {size}));
  }

  async chmod(oid: number, mode: number): Promise<void> {
    const call = {kind: 'chmod', client: this.life, oid, mode} as const;
    await this.#attr(call, () => this.#client.setattr(oid, {mode}));
  }

  async setxattr(oid: number, name: string, value: string, flags: number): Promise<void> {
    const call = {kind: 'setxattr', client: this.life, oid, name, value, flags} as const;
    await this.#plain(call, () => this.#client.setxattr(oid, bytesOf(name), bytesOf(value), flags));
  }

  async removexattr(oid: number, name: string): Promise<void> {
    const call = {kind: 'removexattr', client: this.life, oid, name} as const;
    await this.#plain(call, () => this.#client.removexattr(oid, bytesOf(name)));
  }

  async getxattr(oid: number, name: string): Promise<void> {
    const call = {kind: 'getxattr', client: this.life, oid, name} as const;
    await this.#do(call, async () => ({
      value: decoder.decode(await this.#client.getxattr(oid, bytesOf(name))),
    }));
  }

  async listxattr(oid: number): Promise<void> {
    await this.#do({kind: 'listxattr', client: this.life, oid} as const, async () => ({
      names: (await this.#client.listxattr(oid)).map((name) => decoder.decode(name)).sort(),
    }));
  }

  async fsync(oid: number): Promise<void> {
    const call = {kind: 'fsync', client: this.life, oid} as const;
    await this.#plain(call, () => this.#client.fsync(oid));
  }

  /** A number for somebody who locks. */
  owner(): number {
    return ++this.#lastOwner;
  }

  /** `wait`: so many ms at most, then EINTR; 0: not at all. The watch fails the world if somebody else has it, too. */
  async lock(oid: number, wanted: LockWanted, wait: number): Promise<void> {
    const stop = new AbortController();
    this.#locks.begins(this.life, oid, wanted);
    if (wait > 0) this.#scheduler.schedule(null, wait, 'signal', () => stop.abort());
    await this.#client.lock(oid, wanted, wait > 0 ? stop.signal : null);
    this.#judge(() => this.#locks.granted(this.life, oid, wanted));
  }

  async testLock(oid: number, wanted: LockWanted): Promise<void> {
    await this.#client.testLock(oid, wanted);
  }

  /** Everything of an owner, as a close does. */
  async unlock(oid: number, owner: number, kind: LockKind): Promise<void> {
    this.#locks.closes(this.life, oid, owner, kind);
    await this.#client.unlockAll(oid, owner, kind);
  }

  #judge(look: () => void): void {
    try {
      look();
    } catch (error) {
      this.#scheduler.fail(error);
    }
  }

  #attr(call: Call, run: () => Promise<Attr>): Promise<Answer<'attr'>> {
    return this.#do(call, async () => ({attr: seen(await run())}));
  }

  #plain(call: Call, run: () => Promise<void>): Promise<Outcome> {
    return this.#do(call, async () => {
      await run();
      return {done: true};
    });
  }

  /** Two things in the history: what was made, and its attributes, which are of a moment after that: others may have changed it by then. */
  #make(call: Call, run: () => Promise<Answer<'attr'>>): Promise<Answer<'attr'>> {
    return this.#do(call, run, (entry, outcome) => {
      const {attr} = outcome;
      this.#history.end(entry, {...outcome, attr: {...attr, mode: ONLY_OID}});
      this.#history.shown(entry, {kind: 'getattr', client: this.life, oid: attr.oid}, {attr});
    });
  }

  async #do<O extends Outcome>(
    call: Call,
    run: () => Promise<O>,
    end = (entry: Entry, outcome: O): void => this.#history.end(entry, outcome),
  ): Promise<O> {
    const entry = this.#history.begin(call, this.#scheduler.now);
    try {
      const outcome = await run();
      end(entry, outcome);
      return outcome;
    } catch (error) {
      if (error instanceof FsError) {
        this.#history.end(entry, {errno: error.errno});
        if (error.errno === 'ENOSPC') this.#judge(() => this.#full?.judge(call));
      } else
        this.#scheduler.fail(
          new SimFailure(`${call.kind} threw ${messageOf(error)}`, {cause: error}),
        );
      throw error;
    }
  }

  /** Bytes in a slot of the client's pool; waits until one is free, as a door does. */
  async #segment(bytes: Uint8Array): Promise<Segment> {
    if (bytes.length > WRITE_BYTES_MAX) throw new RangeError('a write of the workload is too long');
    for (;;) {
      const slot = this.#pool.alloc(bytes.length);
      if (slot >= 0) {
        const offset = this.#pool.payload(slot);
        this.#pool.view(offset, bytes.length).set(bytes);
        return {slot, offset, length: bytes.length};
      }
      await new Promise<void>((resolve) => this.#pool.onFree(resolve));
    }
  }
}
