import {FsError, messageOf} from '../../core/base/errors.js';
import type {BufferPool} from '../../core/base/pool.js';
import {MIB} from '../../core/base/units.js';
import {piecesIn, recordsIn} from '../../core/meta/backup-stream.js';
import type {LogPosition} from '../../core/meta/log.js';
import {positionOfPiece} from '../../core/meta/store-copy.js';
import type {BackupReply} from '../../core/protocol/gen/wire.js';
import {OPS} from '../../core/protocol/ops.js';
import type {PeerLike} from '../../core/transport/peer-api.js';
import {withMeta} from '../admin.js';
import {CliError, EXIT} from '../cli-error.js';
import {
  type BackupManifest,
  type BackupPart,
  lastChain,
  PartWriter,
  prepareFolder,
  readManifest,
  removeUnlisted,
  writeManifest,
} from './backup-folder.js';

/** A chain whose logs are longer than its state, and than this, takes longer to restore than a new state. */
const LOG_BYTES_MIN = 64 * MIB;
const NOTHING: LogPosition = {sequence: 0, sum: 0};

export interface BackupOptions {
  folder: string;
  metas: string;
  /** The whole state, also where the log would do. */
  full: boolean;
  /** Chains that are kept: this one and those before it. */
  keep: number;
  timeoutMs: number;
}

/** What `cpfs meta backup -o json` prints. Stable: fields are added, never changed. */
export interface BackupReport {
  version: 1;
  folder: string;
  cluster: string;
  /** `full`: the whole state; `incremental`: what changed since the backup before; `unchanged`: nothing did. */
  kind: 'full' | 'incremental' | 'unchanged';
  /** Last record of the meta server's log that the backup has. */
  sequence: number;
  /** Written by this run. */
  bytes: number;
  /** Of the chain that a restore reads. */
  chainBytes: number;
  chainParts: number;
  /** Milliseconds. */
  tookMs: number;
}

/** Adds to the backups of a folder. CliError: why not; then the folder has what it had. */
export async function backup(options: BackupOptions): Promise<BackupReport> {
  const {folder, metas, timeoutMs, keep} = options;
  const began = performance.now();
  prepareFolder(folder);
  const before = readManifest(folder);
  removeUnlisted(folder, before?.parts ?? []);
  const run = await withMeta(metas, timeoutMs, (peer, pool) => take(options, before, peer, pool));
  const {reply, parts, full} = run;
  const chain = [...(full ? [] : lastChain(before?.parts ?? [])), ...parts];
  if (parts.length > 0) {
    const {cluster, line, release} = reply;
    const all = keptChains([...(before?.parts ?? []), ...parts], keep);
    const manifest: BackupManifest = {version: 1, cluster, line, release, parts: all};
    await unchanged(folder, before);
    await writeManifest(folder, manifest);
    removeUnlisted(folder, all);
  }
  const bytes = (some: readonly BackupPart[]): number => some.reduce((n, p) => n + p.bytes, 0);
  return {
    version: 1,
    folder,
    cluster: reply.cluster,
    kind: full ? 'full' : parts.length > 0 ? 'incremental' : 'unchanged',
    sequence: chain.at(-1)!.to.sequence,
    bytes: bytes(parts),
    chainBytes: bytes(chain),
    chainParts: chain.length,
    tookMs: Math.round(performance.now() - began),
  };
}

async function unchanged(folder: string, before: BackupManifest | null): Promise<void> {
  if (JSON.stringify(readManifest(folder)) === JSON.stringify(before)) return;
  throw new CliError(
    `another backup was made into ${folder} meanwhile, this one is given up; make one at a time`,
    EXIT.conflict,
  );
}

function keptChains(parts: readonly BackupPart[], keep: number): BackupPart[] {
  const starts = parts.flatMap(({kind}, index) => (kind === 'state' ? [index] : []));
  return parts.slice(starts.at(-keep) ?? 0);
}

/** Where the folder's chain ends, if it is worth going on with. */
function endOf(before: BackupManifest | null, full: boolean): LogPosition {
  const chain = lastChain(before?.parts ?? []);
  if (full || chain.length === 0) return NOTHING;
  const [state, ...logs] = chain;
  const bytes = logs.reduce((n, part) => n + part.bytes, 0);
  return bytes > Math.max(LOG_BYTES_MIN, state!.bytes) ? NOTHING : chain.at(-1)!.to;
}

interface Taken {
  reply: BackupReply;
  full: boolean;
  parts: BackupPart[];
}

async function take(
  {folder, full, timeoutMs}: BackupOptions,
  before: BackupManifest | null,
  peer: PeerLike,
  pool: BufferPool,
): Promise<Taken> {
  const end = endOf(before, full);
  const {message: reply} = await peer
    .call(OPS.backup, {...end, release: before?.release ?? ''}, {deadlineMs: timeoutMs})
    .catch((error: unknown) => {
      if (!(error instanceof FsError && error.errno === 'EBUSY')) throw error;
      throw new CliError(`${error.detail}; try again when they are done`, EXIT.conflict);
    });
  if (before !== null && before.cluster !== reply.cluster) {
    throw new CliError(
      `${folder} has backups of cluster ${before.cluster}, this is ${reply.cluster}; name another folder`,
      EXIT.conflict,
    );
  }
  const parts: BackupPart[] = [];
  let writer: PartWriter | null = null;
  let kind: string | null = null;
  const finish = async (): Promise<void> => {
    if (writer === null) return;
    const from = parts.at(-1)?.to ?? (reply.full ? NOTHING : end);
    parts.push(await named(writer, kind as BackupPart['kind'], from));
    writer = null;
  };
  try {
    for (let piece = 0; ; piece++) {
      const ask = {id: reply.id, piece};
      const {message, payload} = await peer.call(OPS.backupRead, ask, {deadlineMs: timeoutMs});
      if (message.part !== kind) {
        await finish();
        kind = message.part;
        if (kind === 'end') return {reply, full: reply.full, parts};
        if (kind !== 'state' && kind !== 'log')
          throw new CliError(`the meta server sent a part '${kind}'; update this cpfs`);
        writer = await PartWriter.create(folder, `${kind}-new`);
      }
      if (payload === null) continue;
      await writer!.write(pool.view(payload.offset, payload.length));
      pool.release(payload.slot);
    }
  } catch (error) {
    await (writer as PartWriter | null)?.discard();
    const isFile = (error as NodeJS.ErrnoException).syscall !== undefined;
    if (!(error instanceof FsError) && !isFile) throw error;
    throw new CliError(
      `the backup was given up (${messageOf(error)}); ${folder} has what it had; try again`,
      EXIT.failed,
    );
  }
}

/** Reads back what was written, since what is wrong is found here or on the worst of days, and gives it its name. */
async function named(
  writer: PartWriter,
  kind: BackupPart['kind'],
  after: LogPosition,
): Promise<BackupPart> {
  let to = after;
  if (kind === 'state') {
    let last: Uint8Array = new Uint8Array(0);
    for await (const piece of piecesIn(writer.content())) last = Uint8Array.from(piece);
    to = positionOfPiece(last);
  } else {
    for await (const {sequence, sum} of recordsIn(writer.content(), after)) to = {sequence, sum};
  }
  const {bytes, sum} = writer;
  const file = `${kind}-${to.sequence.toString(16)}.${sum.toString(16).padStart(8, '0')}`;
  await writer.publish(file);
  const at = new Date().toISOString();
  const {sequence, sum: record} = to;
  return {file, kind, after, to: {sequence, sum: record}, bytes, sum, at};
}
