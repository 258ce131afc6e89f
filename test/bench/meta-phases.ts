// What the benchmark of the meta server's machine does in processes of their own: meta-machine.ts starts them one after the other.
import {readdirSync, statSync} from 'node:fs';
import {join} from 'node:path';
import {ROOT_OID} from '../../src/core/base/ids.js';
import type {Machine} from '../../src/core/meta/machine.js';
import {LmdbKv} from '../../src/core/os/kv-lmdb.js';
import {OPS} from '../../src/core/protocol/ops.js';
import {keepHeapSmall} from '../../src/roles/lifecycle.js';
import {bytes, whole} from '../support/meta.js';
import {backupFrom, compacted, follow, serve} from './meta-copies.js';
import {served} from './meta-served.js';
import {
  DIRECTORY_FILES,
  directoriesOf,
  directoryOf,
  type Figures,
  keepTree,
  measure,
  memoryNow,
  nameOf,
  oidOf,
  openMachine,
  pick,
  readTree,
  type Shape,
  type Tree,
} from './meta-tree.js';

const AT_ONCE = 64;
const DIRECTORIES_EACH = 100;
const OPS_MAX = 200_000;
const CHANGES_MAX = 50_000;
/** Between two backups. */
const MORE_FILES = 10_000;
const caller = {uid: 1000, gid: 1000};

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Requests of one session, `AT_ONCE` at a time, as from a few clients. */
class Requests {
  readonly #machine: Machine;
  readonly #session: number;
  #id = 0;

  private constructor(machine: Machine, session: number) {
    this.#machine = machine;
    this.#session = session;
  }

  static async open(machine: Machine): Promise<Requests> {
    return new Requests(
      machine,
      await machine.createSession(bytes('{"name":"bench","address":""}')),
    );
  }

  async make(parent: number, name: Uint8Array, kind: 'create' | 'mkdir'): Promise<number> {
    const request = whole(OPS.create, {mode: 0o644, caller, exclusive: true, parent, name});
    const command = {session: this.#session, requestId: ++this.#id, request, groups: [1]};
    const {reply} =
      kind === 'create'
        ? await this.#machine.submit(OPS.create, command)
        : await this.#machine.submit(OPS.mkdir, command);
    return reply.attr!.oid;
  }

  rename(parent: number, name: Uint8Array, to: number, newName: Uint8Array): Promise<unknown> {
    const request = whole(OPS.rename, {parent, name, newParent: to, newName});
    return this.#machine.submit(OPS.rename, {
      session: this.#session,
      requestId: ++this.#id,
      request,
    });
  }

  async remove(parent: number, name: Uint8Array, oid: number): Promise<void> {
    const request = whole(OPS.unlink, {parent, name, directory: false});
    await this.#machine.submit(OPS.unlink, {
      session: this.#session,
      requestId: ++this.#id,
      request,
    });
    await this.#machine.reap([oid]);
    const layout = {k: 4, m: 1, unitBytes: 65_536, chunkBytes: 2 ** 26, groups: [1], generation: 0};
    await this.#machine.removalDone([{oid, layout, whole: true}]);
  }

  setattr(oid: number): Promise<unknown> {
    const request = whole(OPS.setattr, {oid, mask: 1, mode: 0o600});
    return this.#machine.submit(OPS.setattr, {
      session: this.#session,
      requestId: ++this.#id,
      request,
    });
  }
}

async function each(count: number, run: (i: number) => Promise<unknown>): Promise<void> {
  for (let i = 0; i < count; i += AT_ONCE) {
    await Promise.all(Array.from({length: Math.min(AT_ONCE, count - i)}, (_, j) => run(i + j)));
    await turn();
  }
}

function diskOf(folder: string, kv: LmdbKv): Figures {
  const {usedBytes, fileBytes, depth} = kv.pages();
  const log = join(folder, 'meta', 'log');
  const logBytes = readdirSync(log).reduce((n, name) => n + statSync(join(log, name)).size, 0);
  return {usedBytes, fileBytes, depth, logBytes};
}

async function fill(folder: string, files: number, shape: Shape): Promise<Figures> {
  keepHeapSmall();
  const {machine, close} = await openMachine(folder);
  const requests = await Requests.open(machine);
  const tree: Tree = {shape, files, directories: [], first: []};
  const makeDirectory = async (j: number): Promise<void> => {
    if (j % DIRECTORIES_EACH === 0) top = await requests.make(ROOT_OID, bytes(`top${j}`), 'mkdir');
    tree.directories.push(await requests.make(top, bytes(`directory${j}`), 'mkdir'));
  };
  let top = 0;
  const create = async (i: number): Promise<void> => {
    const j = directoryOf(tree, i);
    const oid = await requests.make(tree.directories[j]!, nameOf(i), 'create');
    if (i === 0 || (shape === 'tree' && tree.first[j] === undefined)) tree.first[j] = oid;
    if (oid !== oidOf(tree, i)) throw new Error('ids are not given in the order of requests');
  };
  const count = directoriesOf(shape, files);
  const figures = await measure(files, async () => {
    if (shape !== 'tree') {
      for (let j = 0; j < count; j++) await makeDirectory(j);
      tree.first = [];
      const first = nameOf(0);
      tree.first[0] = await requests.make(tree.directories[directoryOf(tree, 0)]!, first, 'create');
      await each(files - 1, (i) => create(i + 1));
      return;
    }
    for (let j = 0, i = 0; j < count; j++) {
      await makeDirectory(j);
      const inThis = Math.min(1000, files - i);
      const from = i;
      await each(inThis, (n) => create(from + n));
      i += inThis;
    }
  });
  keepTree(folder, tree);
  await machine.sync();
  const steady = memoryNow();
  await close();
  const kv = await LmdbKv.open(join(folder, 'meta', 'store'));
  const disk = diskOf(folder, kv);
  await kv.close();
  return {...figures, ...disk, steadyAnonMiB: steady.anonMiB, steadyHeapMiB: steady.heapMiB};
}

async function start(folder: string): Promise<Figures> {
  const began = performance.now();
  const {machine, close} = await openMachine(folder);
  const openMs = performance.now() - began;
  const tree = readTree(folder);
  machine.query(OPS.getattr, {oid: tree.directories.at(-1)!});
  const memory = memoryNow();
  const {files} = machine;
  await close();
  return {openMs, files, ...memory};
}

/** Logs without checkpoints until the log is as long as it may get, and dies. */
async function tail(folder: string, bytesMax: number): Promise<never> {
  const {machine} = await openMachine(folder, {
    checkpointBytes: Infinity,
    checkpointMs: 2 ** 31 - 1,
  });
  const requests = await Requests.open(machine);
  const parent = await requests.make(ROOT_OID, bytes(`tail${Date.now()}`), 'mkdir');
  const log = join(folder, 'meta', 'log');
  const size = (): number => readdirSync(log).reduce((n, f) => n + statSync(join(log, f)).size, 0);
  const before = size();
  for (let i = 0; size() - before < bytesMax; i += 1024)
    await each(1024, (n) => requests.make(parent, nameOf(i + n), 'create'));
  process.kill(process.pid, 'SIGKILL');
  return turn() as never;
}

async function makeMore(folder: string): Promise<Figures> {
  const {machine, close} = await openMachine(folder);
  const requests = await Requests.open(machine);
  const parent = await requests.make(ROOT_OID, bytes('more'), 'mkdir');
  await each(MORE_FILES, (n) => requests.make(parent, nameOf(n), 'create'));
  await close();
  return {files: MORE_FILES};
}

async function work(folder: string): Promise<Record<string, Figures>> {
  keepHeapSmall();
  const {machine, close} = await openMachine(folder);
  const tree = readTree(folder);
  const requests = await Requests.open(machine);
  const parentOf = (i: number): number => tree.directories[directoryOf(tree, i)]!;
  const reads = Math.min(OPS_MAX, tree.files);
  const changes = Math.min(CHANGES_MAX, Math.floor(tree.files / 4));
  const result: Record<string, Figures> = {};
  const query = async (what: string, run: (i: number) => void): Promise<void> => {
    for (let n = 0; n < 5000; n++) run(pick(tree, n));
    // The first time the kernel has to map the pages of the store.
    for (const name of [`${what}, first`, what])
      result[name] = await measure(reads, async () => {
        for (let n = 0; n < reads; n++) {
          run(pick(tree, n));
          if (n % 512 === 0) await turn();
        }
      });
  };
  await query('lookup', (i) => {
    const {attr} = machine.query(OPS.lookup, {parent: parentOf(i), name: nameOf(i)});
    if (attr?.oid !== oidOf(tree, i)) throw new Error('another file');
  });
  await query('getattr', (i) => machine.query(OPS.getattr, {oid: oidOf(tree, i)}));
  for (const attributes of [false, true]) {
    let entries = 0;
    const list = async (limit: number): Promise<void> => {
      for (let n = 0; entries < limit; n++) {
        const oid = tree.directories[(n * 7919) % tree.directories.length]!;
        for (let cookie = 0; entries < limit; ) {
          const page = machine.query(OPS.readdir, {oid, cookie, maxEntries: 1000, attributes});
          entries += page.entries.length;
          await turn();
          if (page.end) break;
          cookie = page.entries.at(-1)!.cookie;
        }
      }
    };
    await list(5000);
    entries = 0;
    const figures = await measure(1, () => list(reads));
    result[attributes ? 'readdir, attributes' : 'readdir'] = {
      ...figures,
      us: figures.us! / entries,
      cpuUs: figures.cpuUs! / entries,
    };
  }
  const change = async (what: string, run: (n: number) => Promise<unknown>): Promise<void> => {
    // Of the first ones the code is compiled.
    const warm = Math.floor(changes / 5);
    await each(warm, run);
    result[what] = await measure(changes - warm, () => each(changes - warm, (n) => run(n + warm)));
  };
  await change('setattr', (n) => requests.setattr(oidOf(tree, pick(tree, n))));
  await change('create', (n) => {
    const parent = tree.directories[mixedDirectory(tree, n)]!;
    return requests.make(parent, bytes(`new-${n}-${mixedDirectory(tree, n + 1)}`), 'create');
  });
  await change('rename', (n) => {
    const i = pick(tree, n);
    return requests.rename(parentOf(i), nameOf(i), parentOf(i), bytes(`renamed-${n}`));
  });
  await change('unlink, reap, removed', (n) => {
    const i = pick(tree, n + changes);
    return requests.remove(parentOf(i), nameOf(i), oidOf(tree, i));
  });
  // As programs mostly do it: what they change together lies together.
  const own: number[] = [];
  for (let n = 0; n < changes; n += DIRECTORY_FILES)
    own.push(await requests.make(ROOT_OID, bytes(`own${n}`), 'mkdir'));
  const made: number[] = [];
  const ownOf = (n: number): number => own[Math.floor(n / DIRECTORY_FILES)]!;
  await change('create, new directories', async (n) => {
    made[n] = await requests.make(ownOf(n), nameOf(n), 'create');
  });
  await change('rename in them', (n) =>
    requests.rename(ownOf(n), nameOf(n), ownOf(n), bytes(`renamed-${n}`)),
  );
  await change('unlink there, reap, removed', (n) =>
    requests.remove(ownOf(n), bytes(`renamed-${n}`), made[n]!),
  );
  const one = parentOf(0);
  const few = 500;
  result['create and sync, 1 at once'] = await measure(few, async () => {
    for (let n = 0; n < few; n++) {
      await requests.make(one, bytes(`durable${n}`), 'create');
      await machine.sync();
    }
  });
  await close();
  return result;
}

const mixedDirectory = (tree: Tree, n: number): number =>
  (n * 104_729 + 31) % tree.directories.length;

const [phase, folder = '', ...more] = process.argv.slice(2);
const phases: Record<string, () => Promise<unknown>> = {
  fill: () => fill(folder, Number(more[0]), more[1] as Shape),
  start: () => start(folder),
  tail: () => tail(folder, Number(more[0])),
  work: () => work(folder),
  served: () => served(folder),
  serve: () => serve(folder),
  follow: () => follow(folder, more[0]!),
  backup: () => backupFrom(folder, more[0]!, true),
  more: () => makeMore(folder),
  incremental: () => backupFrom(folder, more[0]!, false),
  compact: () => compacted(folder),
};
console.log(JSON.stringify(await phases[phase!]!()));
process.exit(0);
