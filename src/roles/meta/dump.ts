import {once} from 'node:events';
import {createReadStream, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {createInterface} from 'node:readline';
import {FsError, messageOf} from '../../core/base/errors.js';
import {DumpReader, type DumpSource, dumpLines} from '../../core/meta/dump.js';
import {SUPERBLOCK_KEY} from '../../core/meta/keys.js';
import {Ledger} from '../../core/meta/ledger.js';
import {decodeSuperblock} from '../../core/meta/records.js';
import {type Entry, positionIn} from '../../core/meta/store.js';
import {LmdbKv} from '../../core/os/kv-lmdb.js';
import {frozenDisk, frozenKv} from '../check/frozen.js';
import {CliError, EXIT} from '../cli-error.js';
import {RELEASE} from '../release.js';
import {newestChain, syncFolder} from './backup-folder.js';
import {replay} from './backup-state.js';
import {mustBeEmpty, withFolder} from './folder.js';

/** Nothing is to be written into the store while it is looked at. */
const NEVER = {checkpointMs: 2 ** 31 - 1, checkpointBytes: Number.MAX_SAFE_INTEGER};
const BATCH = 4096;

/** What the folder of a meta server comes to: its store, and the log behind it. Nothing in it changes. */
export function dumpFolder(state: string, out: NodeJS.WritableStream): Promise<void> {
  return withFolder(state, async (env) => {
    const kv = await LmdbKv.open(join(state, 'store'));
    let ledger: Ledger | null = null;
    try {
      ledger = await Ledger.open({...env, kv: frozenKv(kv), disk: frozenDisk(env.disk)}, NEVER);
      const {store, last: sequence, sum, cluster} = ledger;
      if (cluster === '') throw new CliError(`${state} holds no cluster yet`, EXIT.notFound);
      const range: DumpSource['range'] = (...a) => store.range(...a);
      await write(out, {release: RELEASE, cluster, sequence, sum, digest: store.digest, range});
    } finally {
      await ledger?.abandon();
      await kv.close();
    }
  });
}

/** What a backup comes to. CliError: it is damaged, or none. */
export async function dumpBackup(folder: string, out: NodeJS.WritableStream): Promise<void> {
  const {manifest, chain} = newestChain(folder);
  const work = mkdtempSync(join(tmpdir(), 'cpfs-dump-'));
  try {
    const {kv} = await replay(folder, manifest.release, chain, work);
    try {
      const {cluster} = decodeSuperblock(kv.get(SUPERBLOCK_KEY)!);
      const range: DumpSource['range'] = (...a) => kv.range(...a);
      await write(out, {release: RELEASE, cluster, ...positionIn(kv), range});
    } finally {
      await kv.close();
    }
  } finally {
    rmSync(work, {recursive: true, force: true});
  }
}

/** Waits for who reads; who has read enough may go. */
async function write(out: NodeJS.WritableStream, source: DumpSource): Promise<void> {
  // Without this an end of the pipe would end the process before its store is closed.
  out.on('error', () => {});
  for (const line of dumpLines(source)) {
    if (out.write(`${line}\n`)) continue;
    try {
      await once(out, 'drain');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EPIPE') return;
      throw error;
    }
  }
}

export interface LoadReport {
  cluster: string;
  sequence: number;
  rows: number;
}

/** Makes the folder of a meta server from a dump. CliError: what is wrong with it; then nothing is made. */
export async function load(file: string, state: string, edited: boolean): Promise<LoadReport> {
  mustBeEmpty(state);
  const input = file === '-' ? process.stdin : createReadStream(file);
  const made = !existsSync(state);
  const work = join(state, 'loading');
  let whole = false;
  try {
    await once(input, 'readable').catch((error: unknown) => {
      throw new CliError(
        `cannot read ${file}: ${messageOf(error)}; name a file that 'cpfs meta dump' made`,
        EXIT.notFound,
      );
    });
    mkdirSync(work, {recursive: true});
    const report = await fill(input, new DumpReader(edited), join(work, 'store'));
    await syncFolder(join(work, 'store'));
    renameSync(join(work, 'store'), join(state, 'store'));
    await syncFolder(state);
    whole = true;
    await syncFolder(dirname(state));
    return report;
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    throw new CliError(
      `${file}: ${messageOf(error)}; nothing was made${edited ? '' : ', say --edited if the dump was changed on purpose'}`,
      EXIT.failed,
    );
  } finally {
    rmSync(whole || !made ? work : state, {recursive: true, force: true});
  }
}

async function fill(
  input: NodeJS.ReadableStream,
  reader: DumpReader,
  folder: string,
): Promise<LoadReport> {
  const kv = await LmdbKv.open(folder);
  try {
    let batch: Entry[] = [];
    const lines = createInterface({input, crlfDelay: Number.POSITIVE_INFINITY});
    for await (const line of lines) {
      const entry = reader.read(line);
      if (entry === null) continue;
      batch.push(entry);
      if (batch.length < BATCH) continue;
      await kv.write(batch);
      batch = [];
    }
    const {header, rows, position} = reader.finish();
    await kv.write([...batch, position]);
    return {cluster: header.cluster, sequence: header.sequence, rows};
  } finally {
    await kv.close();
  }
}
