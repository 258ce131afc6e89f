import {createReadStream, existsSync, mkdirSync, readdirSync, readFileSync, rmSync} from 'node:fs';
import {open, rename} from 'node:fs/promises';
import {join} from 'node:path';
import {crc32c} from '../../core/base/crc32c.js';
import {FsError, messageOf} from '../../core/base/errors.js';
import {type BackupRecord, piecesIn, recordsIn} from '../../core/meta/backup-stream.js';
import type {LogPosition} from '../../core/meta/log.js';
import {CliError, EXIT} from '../cli-error.js';

const MANIFEST = 'backup.json';
const PARTLY = '.partly';
const OURS = /^(state|log)-([0-9a-f]+\.[0-9a-f]{8}|new\.partly)$/;

/** One file of a backup. A state is what the meta server had at `to`; a log leads from `after` to there. */
export interface BackupPart {
  file: string;
  kind: 'state' | 'log';
  /** Of a state: nothing, {0, 0}. */
  after: LogPosition;
  to: LogPosition;
  bytes: number;
  /** CRC32C of the file. */
  sum: number;
  /** Wall clock of the backup, ISO 8601. */
  at: string;
}

/** What a folder of backups says of itself. */
export interface BackupManifest {
  version: 1;
  cluster: string;
  /** Which line of states of the cluster it is. */
  line: number;
  release: string;
  /** In the order in which they were made: each state begins a chain, the logs behind it lead on from there. */
  parts: BackupPart[];
}

const damaged = (folder: string, what: string): CliError =>
  new CliError(`the backup ${folder} is damaged: ${what}; use another one`, EXIT.failed);

/** Null: there is none. CliError: the folder holds something else, or is damaged. */
export function readManifest(folder: string): BackupManifest | null {
  const path = join(folder, MANIFEST);
  if (!existsSync(path)) return null;
  let saved: BackupManifest & {sum: number};
  try {
    saved = JSON.parse(readFileSync(path, 'utf8')) as BackupManifest & {sum: number};
  } catch (error) {
    throw damaged(folder, `${MANIFEST} cannot be read (${messageOf(error)})`);
  }
  const {sum, ...manifest} = saved;
  if (manifest.version !== 1) {
    throw new CliError(
      `the backup ${folder} is of version ${String(manifest.version)}, this release reads version 1; use a newer cpfs`,
      EXIT.failed,
    );
  }
  if (sumOf(manifest) !== sum) throw damaged(folder, `${MANIFEST} fails its sum`);
  return manifest;
}

const sumOf = (manifest: BackupManifest): number => crc32c(Buffer.from(JSON.stringify(manifest)));

/** The newest state and the logs behind it. CliError: there is no backup. */
export function newestChain(folder: string): {manifest: BackupManifest; chain: BackupPart[]} {
  const manifest = readManifest(folder);
  if (manifest === null)
    throw new CliError(
      `there is no backup in ${folder}; name the folder of 'cpfs meta backup'`,
      EXIT.notFound,
    );
  return {manifest, chain: lastChain(manifest.parts)};
}

export const lastChain = (parts: readonly BackupPart[]): BackupPart[] =>
  parts.slice(
    Math.max(
      0,
      parts.findLastIndex(({kind}) => kind === 'state'),
    ),
  );

/** Makes it durable under its name; then it is what the folder holds. */
export async function writeManifest(folder: string, manifest: BackupManifest): Promise<void> {
  const text = JSON.stringify({...manifest, sum: sumOf(manifest)}, null, 2);
  const writer = await PartWriter.create(folder, MANIFEST);
  await writer.write(Buffer.from(`${text}\n`));
  await writer.publish(MANIFEST);
}

/** A file that gets its name when it is whole and on stable storage. */
export class PartWriter {
  readonly #folder: string;
  readonly #path: string;
  readonly #file: Awaited<ReturnType<typeof open>>;
  bytes = 0;
  sum = 0;

  private constructor(folder: string, path: string, file: Awaited<ReturnType<typeof open>>) {
    this.#folder = folder;
    this.#path = path;
    this.#file = file;
  }

  static async create(folder: string, name: string): Promise<PartWriter> {
    const path = join(folder, `${name}${PARTLY}`);
    return new PartWriter(folder, path, await open(path, 'w+', 0o600));
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.sum = crc32c(bytes, 0, bytes.length, this.sum);
    this.bytes += bytes.length;
    for (let at = 0; at < bytes.length; ) {
      const {bytesWritten} = await this.#file.write(bytes, at);
      at += bytesWritten;
    }
  }

  /** What was written, from its beginning. */
  async *content(): AsyncGenerator<Uint8Array> {
    await this.#file.sync();
    yield* createReadStream(this.#path) as AsyncIterable<Uint8Array>;
  }

  async publish(name: string): Promise<void> {
    await this.#file.sync();
    await this.#file.close();
    await rename(this.#path, join(this.#folder, name));
    await syncFolder(this.#folder);
  }

  async discard(): Promise<void> {
    await this.#file.close();
    rmSync(this.#path, {force: true});
  }
}

export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Files of backups that were not finished, or that no chain has any more. */
export function removeUnlisted(folder: string, parts: readonly BackupPart[]): void {
  const listed = new Set(parts.map(({file}) => file));
  for (const name of readdirSync(folder))
    if (OURS.test(name) && !listed.has(name)) rmSync(join(folder, name), {force: true});
}

/** CliError: it holds something else than backups. */
export function prepareFolder(folder: string): void {
  mkdirSync(folder, {recursive: true, mode: 0o700});
  if (existsSync(join(folder, MANIFEST))) return;
  const other = readdirSync(folder).find(
    (name) => !OURS.test(name) && name !== `${MANIFEST}${PARTLY}`,
  );
  if (other === undefined) return;
  throw new CliError(
    `${folder} holds something else than backups (${other}); name an empty folder, or a missing one`,
    EXIT.conflict,
  );
}

/** Counts and sums what goes by. */
async function* summed(
  source: AsyncIterable<Uint8Array>,
  so: {bytes: number; sum: number},
): AsyncGenerator<Uint8Array> {
  for await (const bytes of source) {
    so.bytes += bytes.length;
    so.sum = crc32c(bytes, 0, bytes.length, so.sum);
    yield bytes;
  }
}

export interface ChainReader {
  /** Pieces of the state, in order; `last`: there are no more. */
  piece(bytes: Uint8Array, last: boolean): Promise<void>;
  /** The state is whole. */
  begin(): Promise<void>;
  record(record: BackupRecord): Promise<void>;
}

/** Reads a chain to its end, and checks all sums on the way. CliError: it is damaged; what was read until then is of no use. */
export async function readChain(
  folder: string,
  chain: readonly BackupPart[],
  reader: ChainReader,
): Promise<void> {
  let at: LogPosition = {sequence: 0, sum: 0};
  for (const [index, part] of chain.entries()) {
    const {file, kind, after, to} = part;
    const linked = after.sequence === at.sequence && (at.sum === 0 || after.sum === at.sum);
    if ((index === 0) !== (kind === 'state') || !linked)
      throw damaged(folder, `${file} does not continue what is before it`);
    const so = {bytes: 0, sum: 0};
    try {
      const source = summed(createReadStream(join(folder, file)), so);
      if (kind === 'state') {
        await eachPiece(source, reader);
        await reader.begin();
        at = to;
      } else {
        for await (const record of recordsIn(source, at)) {
          await reader.record(record);
          at = {sequence: record.sequence, sum: record.sum};
        }
      }
    } catch (error) {
      if (error instanceof FsError || (error as NodeJS.ErrnoException).code !== undefined)
        throw damaged(folder, `${file}: ${messageOf(error)}`);
      throw error;
    }
    if (so.bytes !== part.bytes || so.sum !== part.sum || at.sequence !== to.sequence)
      throw damaged(folder, `${file} is not what was written`);
  }
}

async function eachPiece(source: AsyncIterable<Uint8Array>, reader: ChainReader): Promise<void> {
  let before: Uint8Array | null = null;
  for await (const piece of piecesIn(source)) {
    if (before !== null) await reader.piece(before, false);
    // The next one is read over it.
    before = Uint8Array.from(piece);
  }
  if (before === null) throw new FsError('EIO', 'it is empty');
  await reader.piece(before, true);
}
