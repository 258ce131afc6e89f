import {spawnSync} from 'node:child_process';
import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import {join} from 'node:path';
import {pattern, seeded} from '../support/frames.js';

const MIB = 1 << 20;
const BLOCK = 4096;
const RANDOM_MIB_MAX = 64;
const FILES_PER_DIRECTORY = 100;
const FILES_PER_TREE_DIRECTORY = 50;
const TREE_FILE_BYTES_MAX = 16_384;
const BIG = Buffer.from(pattern(MIB, 1).buffer);
const SMALL = Buffer.from(pattern(BLOCK, 2).buffer, 0, BLOCK);

/** Where and how much. */
export interface Place {
  /** On the file system that is measured. */
  dir: string;
  /** The same folder through another mount; the same path where there is none. */
  second: string;
  /** On a local disk: the tar file, and the tree it was made of. */
  local: string;
  /** MiB of the sequential file. */
  size: number;
  /** Small files; random operations are twice as many. */
  files: number;
}

/** What a run moved. */
export interface Moved {
  /** In the workload's unit. */
  units: number;
  /** Bytes that the program wrote; 0: it only read. */
  wrote: number;
}

export interface Workload {
  name: string;
  about: string;
  unit: 'MiB' | 'ops';
  /** Before the run nothing is in a cache: the mount is a new one, and the kernel's caches are dropped. */
  cold: boolean;
  /** Half of it is done by another process, at the same time, through the second mount. */
  twoMounts?: boolean;
  /** Makes what the run needs and is not there yet. Not measured. */
  prepare(place: Place): void;
  run(place: Place): Moved;
  /** Throws if the file system does not hold what the run wrote. Not measured; runs that read check what they read. */
  check?(place: Place): void;
}

const made = (): Buffer => Buffer.allocUnsafe(BLOCK);

/** The MiB number `index` of any big file: it differs from all others at both ends. */
function stamp(block: Buffer, index: number): Buffer {
  block.writeUInt32LE(index, 0);
  block.writeUInt32LE(index, block.length - 4);
  return block;
}

function same(got: Buffer, expected: Buffer, where: string): void {
  if (!got.equals(expected)) throw new Error(`wrong bytes in ${where}`);
}

function fill(fd: number, buffer: Buffer, position: number, where: string): void {
  const got = readSync(fd, buffer, 0, buffer.length, position);
  if (got !== buffer.length) throw new Error(`${got} bytes at ${position} of ${where}`);
}

function withFile<T>(path: string, flags: string, use: (fd: number) => T): T {
  const fd = openSync(path, flags);
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

function writeBig(path: string, mib: number): void {
  withFile(path, 'w', (fd) => {
    for (let i = 0; i < mib; i++) {
      stamp(BIG, i);
      for (let at = 0; at < MIB; ) at += writeSync(fd, BIG, at, MIB - at);
    }
    fsyncSync(fd);
  });
}

function readBig(path: string, mib: number): void {
  const block = Buffer.allocUnsafe(MIB);
  withFile(path, 'r', (fd) => {
    for (let i = 0; i < mib; i++) {
      fill(fd, block, i * MIB, path);
      same(block, stamp(BIG, i), `MiB ${i} of ${path}`);
    }
  });
}

function prepareBig(path: string, mib: number): void {
  if (!existsSync(path) || statSync(path).size !== mib * MIB) writeBig(path, mib);
}

const seqPath = ({dir}: Place): string => join(dir, 'seq');
const randomPath = ({dir}: Place): string => join(dir, 'random');
const randomMib = ({size}: Place): number => Math.min(size, RANDOM_MIB_MAX);
const filesFolder = ({dir}: Place): string => join(dir, 'files');
const treeFolder = ({dir}: Place): string => join(dir, 'tree');

function* smallFiles(place: Place): Generator<[path: string, index: number]> {
  for (let i = 0; i < place.files; i++) {
    yield [join(filesFolder(place), `d${Math.floor(i / FILES_PER_DIRECTORY)}`, `f${i}`), i];
  }
}

function prepareFolders(place: Place): void {
  const folder = filesFolder(place);
  rmSync(folder, {recursive: true, force: true});
  for (let d = 0; d * FILES_PER_DIRECTORY < place.files; d++)
    mkdirSync(join(folder, `d${d}`), {recursive: true});
}

function createFiles(place: Place): Moved {
  for (const [path, i] of smallFiles(place)) {
    withFile(path, 'wx', (fd) => writeSync(fd, stamp(SMALL, i)));
  }
  return {units: place.files, wrote: place.files * BLOCK};
}

function readFiles(place: Place): Moved {
  const block = made();
  for (const [path, i] of smallFiles(place)) {
    withFile(path, 'r', (fd) => fill(fd, block, 0, path));
    same(block, stamp(SMALL, i), path);
  }
  return {units: place.files, wrote: 0};
}

function statFiles(place: Place): Moved {
  for (const [path] of smallFiles(place)) {
    if (statSync(path).size !== BLOCK) throw new Error(`the size of ${path} is not ${BLOCK}`);
  }
  return {units: place.files, wrote: 0};
}

function prepareFiles(place: Place): void {
  if (existsSync(filesFolder(place))) return;
  prepareFolders(place);
  createFiles(place);
}

/** Blocks that the random workloads touch, in their order; each at most once, so that a check is simple. */
function randomBlocks(place: Place, count: number, seed: number): number[] {
  const below = seeded(seed);
  const blocks = new Set<number>();
  const all = (randomMib(place) * MIB) / BLOCK;
  while (blocks.size < Math.min(count, all / 2)) blocks.add(below(all));
  return [...blocks];
}

const READ_SEED = 3;

function randomReads(place: Place): Moved {
  const block = made();
  const path = randomPath(place);
  const blocks = randomBlocks(place, place.files * 2, READ_SEED);
  withFile(path, 'r', (fd) => {
    for (const at of blocks) {
      fill(fd, block, at * BLOCK, path);
      const mib = Math.floor((at * BLOCK) / MIB);
      const start = (at * BLOCK) % MIB;
      same(block, stamp(BIG, mib).subarray(start, start + BLOCK), `block ${at} of ${path}`);
    }
  });
  return {units: blocks.length, wrote: 0};
}

function randomWrites(place: Place, blocks: readonly number[], always: boolean): Moved {
  withFile(randomPath(place), 'r+', (fd) => {
    for (const at of blocks) {
      writeSync(fd, stamp(SMALL, at), 0, BLOCK, at * BLOCK);
      if (always) fdatasyncSync(fd);
    }
    fsyncSync(fd);
  });
  return {units: blocks.length, wrote: blocks.length * BLOCK};
}

function checkRandomWrites(place: Place, blocks: readonly number[]): void {
  const block = made();
  const path = randomPath(place);
  withFile(path, 'r', (fd) => {
    for (const at of blocks) {
      fill(fd, block, at * BLOCK, path);
      same(block, stamp(SMALL, at), `block ${at} of ${path}`);
    }
  });
  // The next workload that reads finds what `prepareBig` writes.
  rmSync(path);
}

function tool(program: string, ...args: string[]): string {
  const ran = spawnSync(program, args, {encoding: 'utf8', maxBuffer: 64 * MIB});
  if (ran.status !== 0)
    throw new Error(`${program}: ${ran.error?.message ?? ran.stderr.slice(0, 500)}`);
  return ran.stdout;
}

/** Files of up to 16 KiB, and a tar file of them; the same each time. */
function prepareTar({local, files}: Place): void {
  if (existsSync(join(local, 'tree.tar'))) return;
  const below = seeded(4);
  const directories = Math.ceil(files / FILES_PER_TREE_DIRECTORY);
  for (let i = 0; i < files; i++) {
    const folder = join(local, 'tree', `d${i % directories}`);
    mkdirSync(folder, {recursive: true});
    writeFileSync(join(folder, `f${i}`), pattern(below(TREE_FILE_BYTES_MAX), i));
  }
  tool('tar', '-cf', join(local, 'tree.tar'), '-C', local, 'tree');
}

function untar(place: Place): Moved {
  tool('tar', '-xf', join(place.local, 'tree.tar'), '-C', place.dir);
  return {units: place.files, wrote: statSync(join(place.local, 'tree.tar')).size};
}

function checkTree(place: Place): void {
  const source = join(place.local, 'tree');
  for (const folder of readdirSync(source)) {
    for (const name of readdirSync(join(source, folder))) {
      const path = join(treeFolder(place), folder, name);
      same(readFileSync(path), readFileSync(join(source, folder, name)), path);
    }
  }
}

function prepareTree(place: Place): void {
  prepareTar(place);
  if (!existsSync(treeFolder(place))) untar(place);
}

function list(place: Place): Moved {
  const files = tool('ls', '-lR', treeFolder(place)).match(/^-/gm)?.length;
  if (files !== place.files) throw new Error(`ls -lR shows ${files} of ${place.files} files`);
  return {units: files, wrote: 0};
}

/** A file that two processes write at the same time: which records of it are whose. */
interface Pieces {
  bytes: number;
  /** The writer of a record, 0 or 1. */
  owner(record: number, records: number): number;
  random: boolean;
}

const sharedPath = ({dir}: Place): string => join(dir, 'shared');
const sharedMib = ({size}: Place): number => Math.min(size, RANDOM_MIB_MAX);
/** Told to the process that does the other half. */
const HALF = 'CPFS_BENCH_HALF';

function recordsOf(place: Place, pieces: Pieces, half: number): number[] {
  const count = (sharedMib(place) * MIB) / pieces.bytes;
  const mine = Array.from({length: count}, (_, i) => i).filter(
    (i) => pieces.owner(i, count) === half,
  );
  if (!pieces.random) return mine;
  const below = seeded(half + 7);
  return Array.from({length: Math.min(place.files, mine.length)}, () => mine[below(mine.length)]!);
}

function writeHalf(place: Place, pieces: Pieces, half: number): number {
  const records = recordsOf(place, pieces, half);
  const path = half === 0 ? sharedPath(place) : join(place.second, 'shared');
  withFile(path, 'r+', (fd) => {
    for (const record of records)
      writeSync(
        fd,
        stamp(BIG.subarray(0, pieces.bytes), record),
        0,
        pieces.bytes,
        record * pieces.bytes,
      );
    fsyncSync(fd);
  });
  return records.length;
}

/** The other half, in a process of its own that runs this again; both begin when it is there. */
function writePieces(place: Place, name: string, pieces: Pieces): Moved {
  if (process.env[HALF] !== undefined) {
    writeHalf(place, pieces, Number(process.env[HALF]));
    return {units: 0, wrote: 0};
  }
  const halves = [0, 1].map(
    (half) => `${HALF}=${half} "$0" "$1" run ${name} "$2" > "$3/half${half}" & p${half}=$!`,
  );
  const script = `${halves.join('\n')}\nwait $p0 && wait $p1`;
  const args = [process.execPath, process.argv[1]!, JSON.stringify(place), place.local];
  tool('sh', '-c', script, ...args);
  const units = [0, 1].reduce((sum, half) => sum + recordsOf(place, pieces, half).length, 0);
  return {units, wrote: units * pieces.bytes};
}

function checkPieces(place: Place, pieces: Pieces): void {
  const block = Buffer.allocUnsafe(pieces.bytes);
  for (const path of [sharedPath(place), join(place.second, 'shared')]) {
    withFile(path, 'r', (fd) => {
      for (const half of [0, 1]) {
        for (const record of recordsOf(place, pieces, half)) {
          fill(fd, block, record * pieces.bytes, path);
          same(block, stamp(BIG.subarray(0, pieces.bytes), record), `record ${record} of ${path}`);
        }
      }
    });
  }
  rmSync(sharedPath(place));
}

const together = (name: string, about: string, pieces: Pieces): Workload => ({
  name,
  about: `two mounts write ${about} of one file of at most 64 MiB, fsync at the end`,
  unit: 'ops',
  cold: false,
  twoMounts: true,
  prepare: (place) => prepareBig(sharedPath(place), sharedMib(place)),
  run: (place) => writePieces(place, name, pieces),
  check: (place) => checkPieces(place, pieces),
});

const writeBlocks = (place: Place) => randomBlocks(place, place.files * 2, 5);
const syncBlocks = (place: Place) => randomBlocks(place, Math.ceil(place.files / 4), 6);
const prepareRandom = (place: Place) => prepareBig(randomPath(place), randomMib(place));
const prepareSeq = (place: Place) => prepareBig(seqPath(place), place.size);

export const WORKLOADS: readonly Workload[] = [
  {
    name: 'seq-write',
    about: 'a new file in writes of 1 MiB, fsync at the end',
    unit: 'MiB',
    cold: false,
    prepare: (place) => rmSync(seqPath(place), {force: true}),
    run: (place) => {
      writeBig(seqPath(place), place.size);
      return {units: place.size, wrote: place.size * MIB};
    },
    check: (place) => readBig(seqPath(place), place.size),
  },
  {
    name: 'seq-read-cold',
    about: 'that file in reads of 1 MiB',
    unit: 'MiB',
    cold: true,
    prepare: prepareSeq,
    run: (place) => {
      readBig(seqPath(place), place.size);
      return {units: place.size, wrote: 0};
    },
  },
  {
    name: 'rand-read-4k',
    about: 'blocks of a file of at most 64 MiB, one at a time',
    unit: 'ops',
    cold: true,
    prepare: prepareRandom,
    run: randomReads,
  },
  {
    name: 'rand-write-4k',
    about: 'the same, written; fsync at the end',
    unit: 'ops',
    cold: false,
    prepare: prepareRandom,
    run: (place) => randomWrites(place, writeBlocks(place), false),
    check: (place) => checkRandomWrites(place, writeBlocks(place)),
  },
  {
    name: 'rand-write-4k-sync',
    about: 'the same, fdatasync after each',
    unit: 'ops',
    cold: false,
    prepare: prepareRandom,
    run: (place) => randomWrites(place, syncBlocks(place), true),
    check: (place) => checkRandomWrites(place, syncBlocks(place)),
  },
  together('shared-halves', 'the two halves, 64 KiB each time,', {
    bytes: 16 * BLOCK,
    owner: (record, records) => (record < records / 2 ? 0 : 1),
    random: false,
  }),
  together('shared-turns', 'every other record of 64 KiB', {
    bytes: 16 * BLOCK,
    owner: (record) => record % 2,
    random: false,
  }),
  together('shared-4k', 'random blocks, never the same ones,', {
    bytes: BLOCK,
    owner: (record) => record % 2,
    random: true,
  }),
  {
    name: 'create-4k',
    about: 'files: create, write 4 KiB, close',
    unit: 'ops',
    cold: false,
    prepare: prepareFolders,
    run: createFiles,
    check: readFiles,
  },
  {
    name: 'read-4k-files',
    about: 'those files: open, read, close',
    unit: 'ops',
    cold: true,
    prepare: prepareFiles,
    run: readFiles,
  },
  {
    name: 'stat-uncached',
    about: 'one stat of each of them',
    unit: 'ops',
    cold: true,
    prepare: prepareFiles,
    run: statFiles,
  },
  {
    name: 'untar',
    about: `files of up to 16 KiB, ${FILES_PER_TREE_DIRECTORY} in a folder`,
    unit: 'ops',
    cold: false,
    prepare: (place) => {
      prepareTar(place);
      rmSync(treeFolder(place), {recursive: true, force: true});
    },
    run: untar,
    check: checkTree,
  },
  {
    name: 'ls-lr',
    about: 'ls -lR of that tree',
    unit: 'ops',
    cold: true,
    prepare: prepareTree,
    run: list,
  },
  {
    name: 'rm-r',
    about: 'rm -r of that tree',
    unit: 'ops',
    cold: false,
    prepare: prepareTree,
    run: (place) => {
      tool('rm', '-r', treeFolder(place));
      return {units: place.files, wrote: 0};
    },
    check: (place) => {
      if (existsSync(treeFolder(place))) throw new Error('the tree is still there');
    },
  },
];
