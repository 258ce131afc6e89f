import {errnoOf, FsError, messageOf} from '../../base/errors.js';
import {type Ms, ROOT_OID} from '../../base/ids.js';
import type {BufferPool} from '../../base/pool.js';
import type {Traffic, WaitingRequest} from '../../base/traffic.js';
import type {CacheOwner, Caller, Client, SetAttributes} from '../../client/api.js';
import type {Clock} from '../../env/clock.js';
import type {Log} from '../../env/log.js';
import type {Attr, StatfsReply, Time} from '../../protocol/gen/wire.js';
import {OPCODE} from '../fuse/abi.js';
import {xattrList, xattrSettable, xattrSupported} from '../xattr-rules.js';
import {OpenFiles} from './files.js';

export interface PathDoorOptions {
  /** Whom all requests come from: the library does not say. */
  caller: Caller;
  /** The folder that is mounted; default: the root of the cluster. */
  root?: number;
  readOnly: boolean;
  /** Are SELinux's labels kept? */
  labels: boolean;
  /** So many large slots of the pool are left to the client's own transfers. */
  spareSlots: number;
}

export interface PathDoorEnv {
  clock: Clock;
  log: Log;
  pool: BufferPool;
  traffic?: Traffic;
}

export interface Listed {
  name: string;
  oid: number;
  /** As in st_mode, without permissions. */
  mode: number;
}

/** The answer to a request: what was asked for, or the negative number of an error. */
export type Answer<T> = {ok: true; value: T} | {ok: false; result: number};

const TARGET_BYTES_MAX = 4095;
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;
const ENTRIES_PER_ASK = 1024;
/** A listing is made in one piece, in memory. */
export const LISTED_MAX = 250_000;
/** What the library makes of bytes that are no UTF-8. */
const REPLACEMENT = '�';
/** chown(2): -1 leaves it as it is. */
const UNCHANGED = 0xffffffff;

/** Text of the library as bytes. What was no UTF-8 has been lost on the way: EILSEQ. */
function bytesOf(text: string): Buffer {
  if (text.includes(REPLACEMENT)) throw new FsError('EILSEQ', 'a name that is no UTF-8');
  return Buffer.from(text);
}

/**
 * The door for libraries that name files by paths: their requests become calls of the same client as the kernel's door. It keeps nothing,
 * and asks that nothing is kept in front of it, so nothing has to be taken back either. Each path is walked anew, in the client's cache
 * where there is a lease.
 */
export class PathDoor implements CacheOwner {
  readonly files: OpenFiles;
  readonly #client: Client;
  readonly #env: PathDoorEnv;
  readonly #options: PathDoorOptions;
  readonly #waiting = new Set<WaitingRequest>();
  readonly #root: number;
  #answered = 0;

  constructor(client: Client, env: PathDoorEnv, options: PathDoorOptions) {
    this.#client = client;
    this.#env = env;
    this.#options = options;
    this.#root = options.root ?? ROOT_OID;
    this.files = new OpenFiles(client, env.pool, options);
    env.traffic?.kernel.watch(() => this.#waiting);
  }

  get answered(): number {
    return this.#answered;
  }

  /** Runs one operation of this door. Never throws. */
  async answer<T>(kind: keyof typeof OPCODE, work: () => Promise<T>): Promise<Answer<T>> {
    const {clock, traffic, log} = this.#env;
    const request = {kind: OPCODE[kind], peer: 'kernel', since: clock.now()};
    this.#waiting.add(request);
    let answer: Answer<T>;
    try {
      answer = {ok: true, value: await work()};
    } catch (error) {
      if (!(error instanceof FsError))
        log.error('fuse.request_failed', {opcode: request.kind, error: messageOf(error)});
      answer = {ok: false, result: -errnoOf(error)};
    }
    this.#waiting.delete(request);
    this.#answered++;
    const took: Ms = clock.now() - request.since;
    traffic?.kernel.meter.record(request.kind, took, !answer.ok);
    return answer;
  }

  // -------------------------------------------------------------- CacheOwner

  invalidate(): Promise<void> {
    return Promise.resolve();
  }

  fenced(): void {
    this.#env.log.warn('fuse.fenced');
  }

  voidNames(): Promise<void> {
    return Promise.resolve();
  }

  // -------------------------------------------------------------- names

  /** Attributes of what a path names, or of what is open under this number. */
  async getattr(path: string, fd = 0): Promise<Attr> {
    if (fd !== 0) return this.#client.getattr(this.files.oidOf(fd));
    const names = this.#namesOf(path);
    const name = names.pop();
    if (name === undefined) return this.#client.getattr(this.#root);
    return this.#client.lookup(await this.#walk(names), name);
  }

  /** With `.` and `..`. */
  async readdir(path: string): Promise<Listed[]> {
    const oid = await this.#find(path);
    const listed: Listed[] = [{name: '.', oid, mode: S_IFDIR}];
    for (let cookie = 0; ; ) {
      const page = await this.#client.readdir(oid, cookie, ENTRIES_PER_ASK, false);
      if (cookie === 0) listed.push({name: '..', oid: page.parent, mode: S_IFDIR});
      for (const entry of page.entries) {
        const name = Buffer.from(entry.name).toString();
        listed.push({name, oid: entry.oid, mode: entry.type << 12});
        ({cookie} = entry);
      }
      if (page.end || page.entries.length === 0) return listed;
      if (listed.length > LISTED_MAX) {
        this.#env.log.warn('fuse.listing_too_long', {oid, entriesMax: LISTED_MAX});
        throw new FsError('EOVERFLOW', `more than ${LISTED_MAX} entries`);
      }
    }
  }

  async mkdir(path: string, mode: number): Promise<void> {
    const [parent, name] = await this.#place(path);
    await this.#client.mkdir(parent, name, mode & 0o7777, this.#options.caller);
  }

  /**
   * Also open(2) that creates, whose flags the library would not tell otherwise. The kernel has not found the name; if it is there all the same
   * somebody else was faster, and after ESTALE the kernel looks again, and knows whether that is an error (O_EXCL) or what was wanted.
   */
  async mknod(path: string, mode: number, rdev: number): Promise<void> {
    const [parent, name] = await this.#place(path);
    try {
      await this.#client.mknod(parent, name, mode, rdev, this.#options.caller);
    } catch (error) {
      const regular = (mode & S_IFMT) === S_IFREG;
      if (regular && error instanceof FsError && error.errno === 'EEXIST')
        throw new FsError('ESTALE', 'another client has made it', {cause: error});
      throw error;
    }
  }

  async symlink(target: string, path: string): Promise<void> {
    const bytes = bytesOf(target);
    if (bytes.length > TARGET_BYTES_MAX) throw new FsError('ENAMETOOLONG');
    const [parent, name] = await this.#place(path);
    await this.#client.symlink(parent, name, bytes, this.#options.caller);
  }

  async readlink(path: string): Promise<string> {
    return Buffer.from(await this.#client.readlink(await this.#find(path))).toString();
  }

  async link(from: string, to: string): Promise<void> {
    const [parent, name] = await this.#place(to);
    await this.#client.link(await this.#find(from), parent, name);
  }

  async unlink(path: string): Promise<void> {
    await this.#client.unlink(...(await this.#place(path)));
  }

  async rmdir(path: string): Promise<void> {
    await this.#client.rmdir(...(await this.#place(path)));
  }

  async rename(from: string, to: string): Promise<void> {
    const [parent, name] = await this.#place(from);
    const [newParent, newName] = await this.#place(to);
    await this.#client.rename(parent, name, newParent, newName, 0);
  }

  // -------------------------------------------------------------- attributes

  chmod(path: string, mode: number): Promise<void> {
    return this.#set(path, {mode: mode & 0o7777});
  }

  chown(path: string, uid: number, gid: number): Promise<void> {
    return this.#set(path, {
      ...(uid === UNCHANGED ? {} : {uid}),
      ...(gid === UNCHANGED ? {} : {gid}),
    });
  }

  utimens(path: string, atime: Time, mtime: Time): Promise<void> {
    return this.#set(path, {atime, mtime});
  }

  truncate(path: string, size: number, fd = 0): Promise<void> {
    return this.#set(path, {size}, fd);
  }

  statfs(): Promise<StatfsReply> {
    return this.#client.statfs();
  }

  /** `size` as getxattr(2) has it; 0: how much is there? Then there are no bytes in the answer. */
  async getxattr(path: string, name: string, size: number): Promise<Uint8Array | number> {
    const bytes = bytesOf(name);
    xattrSupported(bytes, this.#options.labels);
    return fitting(await this.#client.getxattr(await this.#find(path), bytes), size);
  }

  async listxattr(path: string, size: number): Promise<Uint8Array | number> {
    const names = await this.#client.listxattr(await this.#find(path));
    return fitting(xattrList(names, this.#options.caller.uid, this.#options.labels), size);
  }

  async setxattr(path: string, name: string, value: Uint8Array, flags: number): Promise<void> {
    this.#writable();
    const bytes = bytesOf(name);
    xattrSettable(bytes, value.length, this.#options.labels);
    // The library's memory is its own again when this has been answered; what the client keeps is a copy.
    const copy = Buffer.from(value);
    await this.#client.setxattr(await this.#find(path), bytes, copy, flags);
  }

  async removexattr(path: string, name: string): Promise<void> {
    this.#writable();
    const bytes = bytesOf(name);
    xattrSupported(bytes, this.#options.labels);
    await this.#client.removexattr(await this.#find(path), bytes);
  }

  // -------------------------------------------------------------- bytes

  async open(path: string, flags: number): Promise<number> {
    return this.files.open(await this.#find(path), flags);
  }

  async fsyncdir(path: string): Promise<void> {
    await this.#client.fsync(await this.#find(path));
  }

  // --------------------------------------------------------------

  #writable(): void {
    if (this.#options.readOnly) throw new FsError('EROFS');
  }

  async #set(path: string, set: SetAttributes, fd = 0): Promise<void> {
    this.#writable();
    const oid = fd === 0 ? await this.#find(path) : this.files.oidOf(fd);
    await this.#client.setattr(oid, set);
  }

  #namesOf(path: string): Buffer[] {
    return path
      .split('/')
      .filter((name) => name !== '')
      .map(bytesOf);
  }

  async #walk(names: readonly Buffer[]): Promise<number> {
    let oid = this.#root;
    for (const name of names) ({oid} = await this.#client.lookup(oid, name));
    return oid;
  }

  #find(path: string): Promise<number> {
    return this.#walk(this.#namesOf(path));
  }

  /** Where an entry is to be changed. */
  async #place(path: string): Promise<[parent: number, name: Buffer]> {
    this.#writable();
    const names = this.#namesOf(path);
    const name = names.pop();
    if (name === undefined) throw new FsError('EBUSY', 'the root');
    return [await this.#walk(names), name];
  }
}

function fitting(value: Uint8Array, size: number): Uint8Array | number {
  if (size === 0) return value.length;
  if (value.length > size) throw new FsError('ERANGE');
  return value;
}
