import {type ChildProcess, execFileSync, spawn} from 'node:child_process';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import {errnoName} from '../../src/core/base/errno.js';
import {FsError} from '../../src/core/base/errors.js';
import {ROOT_OID} from '../../src/core/base/ids.js';
import {type Call, ONLY_OID, type Outcome, type Seen} from '../../src/core/sim/call.js';
import type {History} from '../../src/core/sim/history.js';
import type {Answer, Recording} from '../../src/core/sim/recorder.js';
import {ROOT} from './source-tree.js';

const FILE = 0o100000;
const TYPE = 0o170000;
const PAGE = 4096;

/** Compiles the program into a folder; its path. */
export function buildFsop(dir: string): string {
  const program = join(dir, 'fsop');
  execFileSync('cc', ['-O1', '-Wall', '-o', program, join(ROOT, 'test/support/fsop.c')]);
  return program;
}

/** A process that makes system calls as it is told (fsop.c). */
export class Fsop {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;

  constructor(program: string) {
    this.#child = spawn(program, {stdio: ['pipe', 'pipe', 'inherit']});
    this.#answers = createInterface(this.#child.stdout!)[Symbol.asyncIterator]();
  }

  /** The words of the answer; rejects with FsError. */
  async call(...words: (string | number)[]): Promise<string[]> {
    this.#child.stdin!.write(`${words.join(' ')}\n`);
    const {value, done} = await this.#answers.next();
    if (done === true) throw new Error('the program is gone');
    const [first, ...rest] = (value as string).split(' ');
    if (first !== 'ok') throw new FsError(errnoName(Number(first)));
    return rest;
  }

  end(): void {
    this.#child.stdin!.end();
  }
}

/** Errors that the kernel finds out from several looks, of different moments: no one state need explain them. */
const SEVERAL_LOOKS = new Set(['EEXIST', 'EISDIR', 'ENOTDIR', 'EINVAL', 'ENOTEMPTY']);

/**
 * A program on a mount whose system calls and their outcomes go into a history. Calls of which the kernel makes several requests are
 * recorded as what is of one moment: a name as the object that it stands for, its attributes as another call.
 */
export class MountRecorder implements Recording {
  readonly life: number;
  readonly #fsop: Fsop;
  readonly #history: History;
  /** Descriptors of objects that were found. */
  readonly #known = new Map<number, number>();
  /** Of files that are open, by object. */
  readonly #open = new Map<number, number[]>();
  #root = 0;
  #made = 0;
  readonly #own: string;

  /** `own`: begins the names of what only this program knows. */
  constructor(program: string, life: number, history: History, own: string) {
    this.life = life;
    this.#fsop = new Fsop(program);
    this.#history = history;
    this.#own = own;
  }

  /** The folder that stands for the model's root. */
  async enter(dir: string): Promise<void> {
    const [fd, ino] = await this.#fsop.call('root', dir);
    this.#root = Number(ino);
    this.#known.set(ROOT_OID, Number(fd));
  }

  end(): void {
    this.#fsop.end();
  }

  async lookup(parent: number, name: string): Promise<Seen> {
    const {attr} = await this.#do({kind: 'lookup', client: this.life, parent, name}, async () => ({
      attr: only(await this.#find(parent, name)),
    }));
    return await this.getattr(attr.oid);
  }

  async getattr(oid: number): Promise<Seen> {
    const call = {kind: 'getattr', client: this.life, oid} as const;
    return (
      await this.#do(call, async () => {
        const [, mode, nlink, size] = (await this.#fsop.call('stat', this.#fd(oid))).map(Number);
        return {attr: {oid, mode: mode!, nlink: nlink!, size: isFile(mode!) ? size! : 0}};
      })
    ).attr;
  }

  async create(
    parent: number,
    name: string,
    {exclusive, truncate}: {exclusive: boolean; truncate: boolean},
  ): Promise<Answer<'attr'>> {
    const options = {exclusive: true, truncate: false};
    const call = {kind: 'create', client: this.life, parent, name, ...options} as const;
    try {
      return await this.#do(call, async () => {
        const [object, ino, fd] = await this.#fsop.call('create', this.#fd(parent), name);
        const oid = this.#oid(ino!);
        this.#known.set(oid, Number(object));
        this.#opened(oid, Number(fd));
        return {attr: only(oid), created: true};
      });
    } catch (error) {
      if (exclusive || !(error instanceof FsError && error.errno === 'EEXIST')) throw error;
    }
    const {oid, mode} = await this.lookup(parent, name);
    if (!isFile(mode)) throw new FsError('EISDIR');
    await this.open(oid, false);
    if (truncate) await this.truncate(oid, 0);
    return {attr: only(oid), created: false};
  }

  /** Under a name of its own first: nobody else can have put something else there when it looks which object it made. */
  async mkdir(parent: number, name: string): Promise<Seen> {
    const made = `${this.#own}${++this.#made}`;
    const call = {kind: 'mkdir', client: this.life, parent, name: made} as const;
    const {attr} = await this.#do(call, async () => {
      await this.#fsop.call('mkdir', this.#fd(parent), made);
      return {attr: only(await this.#find(parent, made))};
    });
    try {
      await this.rename(parent, made, parent, name, 1);
    } catch (error) {
      await this.rmdir(parent, made);
      throw error;
    }
    return attr;
  }

  async symlink(parent: number, name: string, target: string): Promise<Seen> {
    const made = `${this.#own}${++this.#made}`;
    const word = target.replaceAll(' ', '-');
    const call = {kind: 'symlink', client: this.life, parent, name: made, target: word} as const;
    const {attr} = await this.#do(call, async () => {
      await this.#fsop.call('symlink', this.#fd(parent), made, word);
      return {attr: only(await this.#find(parent, made))};
    });
    try {
      await this.rename(parent, made, parent, name, 1);
    } catch (error) {
      await this.unlink(parent, made);
      throw error;
    }
    return attr;
  }

  readlink(oid: number): Promise<Answer<'target'>> {
    return this.#do({kind: 'readlink', client: this.life, oid}, async () => ({
      target: unhex(await this.#fsop.call('readlink', this.#fd(oid))).toString(),
    }));
  }

  async link(oid: number, parent: number, name: string): Promise<Seen> {
    const call = {kind: 'link', client: this.life, oid, parent, name} as const;
    const run = (): Promise<string[]> =>
      this.#fsop.call('link', this.#fd(oid), this.#fd(parent), name);
    await this.#vague(call, run, {attr: only(oid)});
    return only(oid);
  }

  async unlink(parent: number, name: string): Promise<void> {
    const call = {kind: 'unlink', client: this.life, parent, name} as const;
    await this.#plain(call, () => this.#fsop.call('unlink', this.#fd(parent), name));
  }

  async rmdir(parent: number, name: string): Promise<void> {
    const call = {kind: 'rmdir', client: this.life, parent, name} as const;
    await this.#plain(call, () => this.#fsop.call('rmdir', this.#fd(parent), name));
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
    const words = [this.#fd(parent), name, this.#fd(newParent), newName, flags];
    await this.#vague(call, () => this.#fsop.call('rename', ...words), {done: true});
  }

  readdir(oid: number): Promise<Answer<'entries'>> {
    return this.#do({kind: 'readdir', client: this.life, oid}, async () => {
      const words = await this.#fsop.call('list', this.#fd(oid));
      const entries: {name: string; oid: number; type: number}[] = [];
      for (let i = 0; i < words.length; i += 3)
        entries.push({name: words[i]!, oid: this.#oid(words[i + 1]!), type: Number(words[i + 2])});
      return {entries};
    });
  }

  async open(oid: number, truncate: boolean): Promise<Seen> {
    const call = {kind: 'open', client: this.life, oid, truncate: false} as const;
    await this.#do(call, async () => {
      const [fd] = await this.#fsop.call('open', this.#fd(oid));
      this.#opened(oid, Number(fd));
      return {attr: only(oid)};
    });
    if (truncate) await this.truncate(oid, 0);
    return only(oid);
  }

  release(oid: number): void {
    const fd = this.#open.get(oid)?.pop();
    if (fd === undefined) throw new Error(`object ${oid} is not open`);
    const entry = this.#history.begin({kind: 'release', client: this.life, oid}, performance.now());
    void this.#fsop.call('close', fd);
    this.#history.end(entry, {done: true});
  }

  /** Within one page also through the kernel's cache, of what another descriptor reads. */
  read(oid: number, offset: number, length: number): Promise<Answer<'bytes'>> {
    const cached = length % 2 === 0;
    const rest = PAGE - (offset % PAGE);
    const most = cached ? Math.min(length, rest) : length;
    const call = {kind: 'read', client: this.life, oid, offset, length: most} as const;
    return this.#do(call, async () => {
      const [verb, fd] = cached
        ? ['cached', this.#fd(oid)]
        : ['read', this.#open.get(oid)!.at(-1)!];
      const bytes = unhex(await this.#fsop.call(verb as string, fd!, offset, most));
      return {bytes: new Uint8Array(bytes)};
    });
  }

  async write(oid: number, offset: number, bytes: Uint8Array, append: boolean): Promise<void> {
    const hex = Buffer.from(bytes).toString('hex');
    const call = {kind: 'write', client: this.life, oid, offset, bytes, append} as const;
    await this.#do(call, async (): Promise<Outcome> => {
      if (append) await this.#fsop.call('append', this.#fd(oid), 0, hex);
      else await this.#fsop.call('write', this.#open.get(oid)!.at(-1)!, offset, hex);
      // Where an append went, nobody is told.
      return append ? {done: true} : {offset};
    });
  }

  async truncate(oid: number, size: number): Promise<void> {
    const call = {kind: 'truncate', client: this.life, oid, size} as const;
    await this.#do(call, async () => {
      await this.#fsop.call('truncate', this.#fd(oid), size);
      return {attr: only(oid)};
    });
  }

  async chmod(oid: number, mode: number): Promise<void> {
    const call = {kind: 'chmod', client: this.life, oid, mode} as const;
    await this.#do(call, async () => {
      await this.#fsop.call('chmod', this.#fd(oid), mode);
      return {attr: only(oid)};
    });
  }

  async setxattr(oid: number, name: string, value: string, flags: number): Promise<void> {
    const call = {kind: 'setxattr', client: this.life, oid, name, value, flags} as const;
    await this.#plain(call, () => this.#fsop.call('setxattr', this.#fd(oid), name, value, flags));
  }

  async removexattr(oid: number, name: string): Promise<void> {
    const call = {kind: 'removexattr', client: this.life, oid, name} as const;
    await this.#plain(call, () => this.#fsop.call('removexattr', this.#fd(oid), name));
  }

  async getxattr(oid: number, name: string): Promise<void> {
    await this.#do({kind: 'getxattr', client: this.life, oid, name} as const, async () => ({
      value: unhex(await this.#fsop.call('getxattr', this.#fd(oid), name)).toString(),
    }));
  }

  async listxattr(oid: number): Promise<void> {
    await this.#do({kind: 'listxattr', client: this.life, oid} as const, async () => {
      const names = unhex(await this.#fsop.call('listxattr', this.#fd(oid)))
        .toString()
        .split('\0');
      return {names: names.filter((name) => name !== '').sort()};
    });
  }

  async fsync(oid: number): Promise<void> {
    const fd = this.#open.get(oid)?.at(-1);
    if (fd === undefined) return;
    const call = {kind: 'fsync', client: this.life, oid} as const;
    await this.#plain(call, () => this.#fsop.call('fsync', fd));
  }

  owner(): number {
    return 0;
  }

  // Locks have tests of their own (locks.test.ts).
  lock(): Promise<void> {
    return Promise.reject(new FsError('EAGAIN'));
  }
  testLock(): Promise<void> {
    return Promise.resolve();
  }
  unlock(): Promise<void> {
    return Promise.resolve();
  }

  #fd(oid: number): number {
    const fd = this.#known.get(oid);
    if (fd === undefined) throw new Error(`object ${oid} was not found by this program`);
    return fd;
  }

  async #find(parent: number, name: string): Promise<number> {
    const [fd, ino] = await this.#fsop.call('find', this.#fd(parent), name);
    const oid = this.#oid(ino!);
    if (this.#known.has(oid)) void this.#fsop.call('close', fd!);
    else this.#known.set(oid, Number(fd));
    return oid;
  }

  #oid(ino: string): number {
    return Number(ino) === this.#root ? ROOT_OID : Number(ino);
  }

  #opened(oid: number, fd: number): void {
    const fds = this.#open.get(oid);
    if (fds === undefined) this.#open.set(oid, [fd]);
    else fds.push(fd);
  }

  #plain(call: Call, run: () => Promise<unknown>): Promise<Outcome> {
    return this.#do(call, async () => {
      await run();
      return {done: true};
    });
  }

  /** A call whose errors may be of several moments. */
  async #vague(call: Call, run: () => Promise<unknown>, outcome: Outcome): Promise<void> {
    const entry = this.#history.begin(call, performance.now());
    try {
      await run();
      this.#history.end(entry, outcome);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      if (SEVERAL_LOOKS.has(error.errno)) this.#history.drop(entry);
      else this.#history.end(entry, {errno: error.errno});
      throw error;
    }
  }

  async #do<O extends Outcome>(call: Call, run: () => Promise<O>): Promise<O> {
    const entry = this.#history.begin(call, performance.now());
    try {
      const outcome = await run();
      this.#history.end(entry, outcome);
      return outcome;
    } catch (error) {
      if (error instanceof FsError) this.#history.end(entry, {errno: error.errno});
      throw error;
    }
  }
}

const only = (oid: number): Seen => ({oid, mode: ONLY_OID, nlink: 0, size: 0});
const isFile = (mode: number): boolean => (mode & TYPE) === FILE;
const unhex = ([hex = '']: string[]): Buffer => Buffer.from(hex, 'hex');
