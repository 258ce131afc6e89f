import {existsSync, mkdirSync, mkdtempSync, renameSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {FsError, Lost} from '../../core/base/errors.js';
import {ROOT_OID} from '../../core/base/ids.js';
import * as keys from '../../core/meta/keys.js';
import {Rebuild, type Rebuilt} from '../../core/meta/rebuild.js';
import {decodeInt, encodeInt} from '../../core/meta/records.js';
import {LmdbKv} from '../../core/os/kv-lmdb.js';
import {COMMON_SHARD} from '../../core/protocol/backtraces.js';
import {CliError, EXIT} from '../cli-error.js';
import {newestChain, syncFolder} from './backup-folder.js';
import {replay} from './backup-state.js';
import {mustBeEmpty} from './folder.js';
import {agree, ask, columns, IDS_MARGIN, POSITION_MARGIN, TERMS_MARGIN} from './rebuild.js';
import {continuedMap, type Missing, missingServers, shortGroups} from './rebuild-map.js';
import type {AskedServer} from './rebuild-servers.js';
import {growFiles, hollowFiles, type SizesFound} from './restore-sizes.js';

/** Epochs and terms that a server which does not answer may have seen: a backup can be months old. */
const EPOCHS_UNKNOWN = 1_000_000;
const TERMS_UNKNOWN = 1_000_000;
/** Lines that may have begun, as far as servers that do not answer know. */
const LINES_UNKNOWN = 1000;
const PAGE = 4096;

export interface RestoreOptions {
  folder: string;
  state: string;
  /** Checks everything, and makes nothing. */
  dryRun: boolean;
  /** Goes on although data servers do not answer. */
  force: boolean;
  /** Goes on although the data servers know more than the backup. */
  acceptLoss: boolean;
  timeoutMs: number;
}

/** What `cpfs meta restore -o json` prints. Stable: fields are added, never changed. */
export interface RestoreReport extends Rebuilt, SizesFound {
  version: 1;
  cluster: string;
  /** Wall clock of the backup, ISO 8601. */
  asOf: string;
  /** Last record of the log that the backup has. */
  sequence: number;
  /** Of the backup: what was read. */
  bytes: number;
  parts: number;
  records: number;
  servers: {uuid: string; address: string; group: number; epoch: number}[];
  missing: Missing[];
  /** Batches that the backtraces of data servers have beyond the backup, and as of when they are; null: none. */
  newer: {batches: number; asOf: string} | null;
  /** Objects of which too few columns are left to be read. */
  remains: number;
  /** Objects that have columns of a later move than the backup knows. */
  moved: number;
  state: string | null;
}

/** Makes the folder of a meta server from a backup. CliError: it cannot, or should not; then nothing is made. */
export async function restore(
  options: RestoreOptions,
  say: (line: string) => void,
): Promise<RestoreReport> {
  const {state, dryRun, folder} = options;
  if (!dryRun) mustBeEmpty(state);
  const {manifest, chain} = newestChain(folder);
  const made = !existsSync(state);
  const work = dryRun
    ? mkdtempSync(join(tmpdir(), 'cpfs-restore-'))
    : mkdirp(join(state, 'restoring'));
  let whole = false;
  try {
    const {
      kv: history,
      sequence,
      records,
    } = await replay(folder, manifest.release, chain, join(work, 'history'));
    let report: RestoreReport;
    try {
      const summary = {
        asOf: chain.at(-1)!.at,
        sequence,
        bytes: chain.reduce((sum, part) => sum + part.bytes, 0),
        parts: chain.length,
        records,
      };
      report = await remake(options, history, work, {...summary, line: manifest.line}, say);
    } finally {
      await history.close();
    }
    if (!dryRun) await publish(state);
    whole = true;
    return {...report, state: dryRun ? null : state};
  } finally {
    if (dryRun) rmSync(work, {recursive: true, force: true});
    else if (!whole) rmSync(made ? state : work, {recursive: true, force: true});
  }
}

const mkdirp = (path: string): string => {
  mkdirSync(path, {recursive: true});
  return path;
};

/** The store gets its name when it is whole: a meta server never starts from half of one. */
async function publish(state: string): Promise<void> {
  const work = join(state, 'restoring');
  await syncFolder(join(work, 'made'));
  renameSync(join(work, 'made'), join(state, 'store'));
  await syncFolder(state);
  rmSync(work, {recursive: true, force: true});
  await syncFolder(dirname(state));
}

interface Summary {
  asOf: string;
  sequence: number;
  bytes: number;
  parts: number;
  records: number;
  line: number;
}

/** The state of the backup as the beginning of another history, above everything that data servers have seen since. */
async function remake(
  options: RestoreOptions,
  history: LmdbKv,
  work: string,
  {line, ...summary}: Summary,
  say: (line: string) => void,
): Promise<RestoreReport> {
  const found = new Map<string, AskedServer>();
  const kv = await LmdbKv.open(join(work, 'made'));
  try {
    const made = new Rebuild(kv);
    await copyState(history, made);
    const map = made.map;
    if (map !== null) {
      const known = missingServers(map, new Set()).map(({address}) => address);
      await ask(options, known, found, say);
    }
    const servers = [...found.values()];
    agree(servers, options);
    const missing = map === null ? [] : missingServers(map, new Set(found.keys()));
    const newer = newest(servers, line, summary.sequence);
    refuse(options, map, missing, newer, servers.length);
    const all = missing.length === 0;
    const {strays, remains, moved, highest} = await columns(made, servers, all, say);
    const {grown, seen} = await growFiles(made, servers, say);
    // Of a server that does not answer nobody knows what it has.
    const hollow = all ? hollowFiles(history, seen) : {hollow: 0, hollowOids: []};
    const wall = Date.now();
    const lines = servers.flatMap(({marks}) => [...marks.values()].map((mark) => mark.line));
    const told = await countsOf(servers);
    const term = Math.max(told.term, decodeInt(made.store.get(keys.TERM_KEY) ?? encodeInt(0)));
    made.store.put(keys.TERM_KEY, encodeInt(term));
    const rebuilt = await made.finish(strays, {
      now: {sec: Math.floor(wall / 1000), nsec: (wall % 1000) * 1e6},
      position: Math.max(summary.sequence, newer?.position ?? 0) + POSITION_MARGIN,
      line: Math.max(line, ...lines) + (all ? 1 : LINES_UNKNOWN),
      terms: all ? TERMS_MARGIN : TERMS_UNKNOWN,
      idsBelow: Math.max(made.idsBelow, told.ids, highest + 1, ROOT_OID + 1) + IDS_MARGIN,
      map: (bytes) =>
        continuedMap(
          bytes,
          servers.map(({info}) => info),
          all ? undefined : EPOCHS_UNKNOWN,
        ),
    });
    return {
      version: 1,
      cluster: made.superblock().cluster,
      ...summary,
      servers: servers.map(({info: {uuid, address, group, epoch}}) => ({
        uuid,
        address,
        group,
        epoch,
      })),
      missing,
      newer:
        newer === null ? null : {batches: newer.batches, asOf: new Date(newer.atMs).toISOString()},
      ...rebuilt,
      remains,
      moved,
      grown,
      ...hollow,
      state: null,
    };
  } finally {
    for (const server of found.values()) server.close();
    await kv.close();
  }
}

/** All but sessions and what was replied to them: who comes back now has seen what the backup does not know. */
async function copyState(history: LmdbKv, made: Rebuild): Promise<void> {
  for (let from = 'a'; ; ) {
    const rows = [...history.range(from, '\x7f', PAGE)];
    await made.add(rows.filter(([key]) => key[0] !== 'r' && key[0] !== 's'));
    if (rows.length < PAGE) return;
    from = `${rows.at(-1)![0]}\0`;
  }
}

/** How far ids and terms had come when data servers were last told. */
async function countsOf(servers: readonly AskedServer[]): Promise<{ids: number; term: number}> {
  const counts = {ids: 0, term: 0};
  for (const server of servers) {
    if (!server.marks.has(COMMON_SHARD)) continue;
    try {
      for await (const entries of server.shard(COMMON_SHARD)) {
        for (const [key, value] of entries) {
          if (value === null) continue;
          if (key === keys.IDS_KEY) counts.ids = Math.max(counts.ids, decodeInt(value));
          if (key === keys.TERM_KEY) counts.term = Math.max(counts.term, decodeInt(value));
        }
      }
    } catch (error) {
      // Others have it, too.
      if (!(error instanceof FsError || error instanceof Lost)) throw error;
    }
  }
  return counts;
}

interface Newer {
  batches: number;
  position: number;
  atMs: number;
}

function newest(servers: readonly AskedServer[], line: number, sequence: number): Newer | null {
  let best: Newer | null = null;
  for (const mark of servers.flatMap(({marks}) => [...marks.values()])) {
    if (mark.line < line || (mark.line === line && mark.position <= sequence)) continue;
    if (best !== null && mark.position <= best.position) continue;
    const {position, atMs} = mark;
    best = {position, atMs, batches: Math.max(0, position - sequence)};
  }
  return best;
}

function refuse(
  {force, acceptLoss, dryRun}: RestoreOptions,
  map: Uint8Array | null,
  missing: readonly Missing[],
  newer: Newer | null,
  answered: number,
): void {
  if (dryRun) return;
  if (newer !== null && !acceptLoss) {
    throw new CliError(
      `the data servers have the state of ${new Date(newer.atMs).toISOString()}, ${newer.batches} batches after the backup: ` +
        "'cpfs meta rebuild --from-data' makes that; say --accept-loss to go back to the backup",
      EXIT.refused,
    );
  }
  const which = missing.map(({group, slot, address}) => `${group}.${slot} (${address})`).join(', ');
  if (map === null || force || missing.length === 0) return;
  if (answered > 0 && shortGroups(map, missing).length === 0) return;
  throw new CliError(
    `these data servers of the backup do not answer: ${which}; start them, or go on without with --force: ` +
      'columns that they have of files which are younger than the backup are removed an hour after the start',
    EXIT.unavailable,
  );
}
