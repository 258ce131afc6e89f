import {readdirSync, readlinkSync} from 'node:fs';
import {FsError, messageOf} from '../base/errors.js';
import type {PathDoor} from '../door/path/door.js';
import {MountError} from './mount-point.js';
import {type PortableNative, portableNative} from './portable-native.js';
import {entryWords, mtimeOf, STAT_WORDS, statfsWords, statWords, timeOf} from './portable-words.js';

/** A mount by the package fuse-native, which is libfuse 2: requests come as paths, each in a thread of the library that waits for its answer. */

export interface PortableOptions {
  /** An existing folder, as the kernel's table has it. */
  dir: string;
  source: string;
  readOnly: boolean;
  noSuid: boolean;
  noDev: boolean;
  noExec: boolean;
  /** Of the one who mounts. */
  root: boolean;
}

/** The library's record of one request; named in its answer. */
type Record = Buffer;
type Send = (record: Record, result: number, ...more: unknown[]) => void;
type Handler = (record: Record, operation: number, ...args: never[]) => unknown;

/** Of libfuse 2 and of kernels without FUSE_MAX_PAGES. */
const REQUEST_BYTES_MAX = 128 * 1024;
/** The native half cuts off what is longer. */
const TEXT_BYTES_MAX = 1023;
const OPERATIONS = 35;
const WORD = 2 ** 32;
const END_POLL_MS = 100;
const DEVICE = '/dev/fuse';

/**
 * The kernel keeps nothing, since nobody could tell it that something has changed: names and attributes are valid for 0 s, and bytes go
 * past its pages.
 */
export function optionText(o: PortableOptions): string {
  const text = [
    `fsname=${o.source.replace(/[,\\]/g, '\\$&')}`,
    'subtype=cpfs',
    'default_permissions',
    'use_ino',
    'direct_io',
    'entry_timeout=0',
    'negative_timeout=0',
    'attr_timeout=0',
    'big_writes',
    `max_write=${REQUEST_BYTES_MAX}`,
    `max_read=${REQUEST_BYTES_MAX}`,
    ...(o.readOnly ? ['ro'] : []),
    // Both are so by default, and only root may have them otherwise.
    ...(o.noSuid || !o.root ? ['nosuid'] : ['suid']),
    ...(o.noDev || !o.root ? ['nodev'] : ['dev']),
    ...(o.noExec ? ['noexec'] : []),
  ].join(',');
  return `-o${text}`;
}

/** Descriptors of this process that are the device. */
function devices(): Set<string> {
  const open = readdirSync('/proc/self/fd').filter(isDevice);
  return new Set(open);
}

function isDevice(descriptor: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`) === DEVICE;
  } catch {
    return false;
  }
}

export class PortableMount {
  readonly #native: PortableNative;
  readonly #door: PathDoor;
  readonly #ended: Promise<number>;
  /** What the library's threads write to: kept for as long as the process lives. */
  readonly #memory: Buffer[] = [];

  private constructor(native: PortableNative, door: PathDoor, options: PortableOptions) {
    this.#native = native;
    this.#door = door;
    const before = devices();
    const thread = this.#take(native.sizeof_fuse_thread_t);
    const text = optionText(options);
    for (const one of [text, options.dir])
      if (Buffer.byteLength(one) > TEXT_BYTES_MAX)
        throw new MountError(36, `cannot mount on ${options.dir}: '${one}' is too long`);
    const [handlers, implemented] = this.#handlers();
    try {
      const malloc = (bytes: number) => this.#take(bytes);
      native.fuse_native_mount(options.dir, text, thread, this, malloc, handlers, implemented);
    } catch (error) {
      throw new MountError(
        5,
        `cannot mount on ${options.dir} with fuse-native (${messageOf(error)}); what libfuse says of it is in the log`,
      );
    }
    const own = [...devices()].filter((one) => !before.has(one));
    this.#ended = new Promise((resolve) => {
      // The library says nothing when it has ended, but it closes the device then.
      const timer = setInterval(() => {
        if (own.some(isDevice)) return;
        clearInterval(timer);
        resolve(0);
      }, END_POLL_MS);
    });
  }

  /** Mounts, and hands requests to the door. Throws MountError, or Error where the package is not here. */
  static open(door: PathDoor, options: PortableOptions): PortableMount {
    return new PortableMount(portableNative(), door, options);
  }

  /** 0: it is unmounted, and every request has been answered. */
  whenEnded(): Promise<number> {
    return this.#ended;
  }

  #take(bytes: number): Buffer {
    const memory = Buffer.alloc(bytes);
    this.#memory.push(memory);
    return memory;
  }

  #handlers(): [Handler[], Uint32Array] {
    const handlers: Handler[] = [];
    const implemented = new Uint32Array(OPERATIONS);
    for (const [name, make] of Object.entries(OPERATION)) {
      const at = this.#native[`op_${name}`] as number;
      handlers[at] = make(this.#door, this.#native[`fuse_native_signal_${name}`] as Send);
      implemented[at] = 1;
    }
    for (let at = 0; at < OPERATIONS; at++) handlers[at] ??= () => {};
    return [handlers, implemented];
  }
}

type Kind = Parameters<PathDoor['answer']>[0];
type Make = (door: PathDoor, send: Send) => Handler;

/** An operation whose answer is a number only. */
const plain =
  <A extends unknown[]>(kind: Kind, run: (door: PathDoor, ...args: A) => Promise<unknown>): Make =>
  (door, send) =>
  async (record, _operation, ...args) => {
    const answer = await door.answer(kind, () => run(door, ...(args as unknown as A)));
    send(record, answer.ok ? 0 : answer.result);
  };

/** One whose answer has something more; `none`: what it has when it failed. */
const giving =
  <A extends unknown[]>(
    kind: Kind,
    none: unknown,
    run: (door: PathDoor, ...args: A) => Promise<unknown>,
  ): Make =>
  (door, send) =>
  async (record, _operation, ...args) => {
    const answer = await door.answer(kind, () => run(door, ...(args as unknown as A)));
    if (answer.ok) send(record, 0, answer.value);
    else send(record, answer.result, none);
  };

/** Bytes of a file: the library's memory is detached with the answer. */
const bytes =
  (
    kind: Kind,
    run: (door: PathDoor, fd: number, memory: Buffer, at: number) => Promise<number>,
  ): Make =>
  (door, send) =>
  async (record, _operation, ...args) => {
    const [, fd, memory, , low, high] = args as unknown as [
      string,
      number,
      Buffer,
      number,
      number,
      number,
    ];
    const answer = await door.answer(kind, () => run(door, fd, memory, low + high * WORD));
    send(record, answer.ok ? answer.value : answer.result, 0, memory.buffer);
  };

/** A value of an attribute, or the list of their names. */
const value =
  (
    kind: Kind,
    memoryAt: number,
    run: (door: PathDoor, path: string, name: string, size: number) => Promise<Uint8Array | number>,
  ): Make =>
  (door, send) =>
  async (record, _operation, ...args) => {
    const [path, name] = args as unknown as [string, string];
    const memory = args[memoryAt] as unknown as Buffer;
    const answer = await door.answer(kind, () => run(door, path, name, memory.length));
    let result = answer.ok ? 0 : answer.result;
    if (answer.ok && typeof answer.value === 'number') result = answer.value;
    else if (answer.ok) {
      memory.set(answer.value as Uint8Array);
      result = (answer.value as Uint8Array).length;
    }
    send(record, result, memory.buffer);
  };

const statOf = async (door: PathDoor, path: string, fd?: number): Promise<Uint32Array> =>
  statWords(await door.getattr(path, fd));

/**
 * By the library's names. `create` is not among them: it does not tell the flags, so that the kernel makes the file and opens it, and the
 * second tells them.
 */
const OPERATION: {readonly [name: string]: Make} = {
  init: (_door, send) => (record) => send(record, 0),
  statfs: giving('STATFS', new Uint32Array(11), async (door) => statfsWords(await door.statfs())),
  getattr: giving('GETATTR', new Uint32Array(STAT_WORDS), statOf),
  fgetattr: giving('GETATTR', new Uint32Array(STAT_WORDS), statOf),
  readlink: giving('READLINK', '', (door, path: string) => door.readlink(path)),
  open: giving('OPEN', 0, (door, path: string, flags: number) => door.open(path, flags)),
  release: plain('RELEASE', async (door, _path: string, fd: number) => door.files.release(fd)),
  read: bytes('READ', (door, fd, memory, at) => door.files.read(fd, memory, at)),
  write: bytes('WRITE', (door, fd, memory, at) => door.files.write(fd, memory, at)),
  flush: plain('FLUSH', (door, _path: string, fd: number) => door.files.flush(fd)),
  fsync: plain('FSYNC', (door, _path: string, dataOnly: number, fd: number) =>
    door.files.fsync(fd, dataOnly !== 0),
  ),
  fsyncdir: plain('FSYNCDIR', (door, path: string) => door.fsyncdir(path)),
  truncate: plain('SETATTR', (door, path: string, low: number, high: number) =>
    door.truncate(path, low + high * WORD),
  ),
  ftruncate: plain('SETATTR', (door, path: string, fd: number, low: number, high: number) =>
    door.truncate(path, low + high * WORD, fd),
  ),
  chown: plain('SETATTR', (door, path: string, uid: number, gid: number) =>
    door.chown(path, uid, gid),
  ),
  chmod: plain('SETATTR', (door, path: string, mode: number) => door.chmod(path, mode)),
  utimens:
    (door, send) =>
    async (record, _operation, ...args) => {
      const [path, low, high] = args as unknown as [string, number, number];
      const mtime = mtimeOf(record, low, high);
      const answer = await door.answer('SETATTR', () => {
        if (mtime === null) throw new FsError('EOPNOTSUPP', 'the library does not tell the time');
        return door.utimens(path, timeOf(low, high), mtime);
      });
      send(record, answer.ok ? 0 : answer.result);
    },
  mknod: plain('MKNOD', (door, path: string, mode: number, rdev: number) =>
    door.mknod(path, mode, rdev),
  ),
  mkdir: plain('MKDIR', (door, path: string, mode: number) => door.mkdir(path, mode)),
  symlink: plain('SYMLINK', (door, target: string, path: string) => door.symlink(target, path)),
  link: plain('LINK', (door, from: string, to: string) => door.link(from, to)),
  unlink: plain('UNLINK', (door, path: string) => door.unlink(path)),
  rmdir: plain('RMDIR', (door, path: string) => door.rmdir(path)),
  rename: plain('RENAME', (door, from: string, to: string) => door.rename(from, to)),
  readdir: (door, send) => async (record, _operation, path: string) => {
    const answer = await door.answer('READDIR', () => door.readdir(path));
    const listed = answer.ok ? answer.value : [];
    const names = listed.map(({name}) => name);
    const words = listed.map(({oid, mode}) => entryWords(oid, mode));
    if (answer.ok) send(record, 0, names, words);
    else send(record, answer.result, [], []);
  },
  setxattr:
    (door, send) =>
    async (record, _operation, ...args) => {
      const [path, name, memory, , flags] = args as unknown as [
        string,
        string,
        Buffer,
        number,
        number,
      ];
      const answer = await door.answer('SETXATTR', () => door.setxattr(path, name, memory, flags));
      send(record, answer.ok ? 0 : answer.result, memory.buffer);
    },
  getxattr: value('GETXATTR', 2, (door, path, name, size) => door.getxattr(path, name, size)),
  listxattr: value('LISTXATTR', 1, (door, path, _name, size) => door.listxattr(path, size)),
  removexattr: plain('REMOVEXATTR', (door, path: string, name: string) =>
    door.removexattr(path, name),
  ),
};
