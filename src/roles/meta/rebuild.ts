import {existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {FsError, Lost, messageOf} from '../../core/base/errors.js';
import {Rebuild, type Rebuilt} from '../../core/meta/rebuild.js';
import {LmdbKv} from '../../core/os/kv-lmdb.js';
import {ALL_SHARDS, COMMON_SHARD} from '../../core/protocol/backtraces.js';
import type {BacktraceMark} from '../../core/protocol/gen/wire.js';
import {CliError, EXIT} from '../cli-error.js';
import {continuedMap, type Missing, missingServers, shortGroups} from './rebuild-map.js';
import {AskedServer} from './rebuild-servers.js';
import {Strays} from './rebuild-strays.js';

/** Ids were given to clients in ranges that no record knows of; there are 2^53. */
export const IDS_MARGIN = 2 ** 32;
/** Batches that the lost log had beyond what any data server knows. */
export const POSITION_MARGIN = 2 ** 32;
/** Terms that may have begun since data servers were last told the state: they obey no older ones. */
export const TERMS_MARGIN = 1000;

export interface RebuildOptions {
  servers: readonly string[];
  state: string;
  /** Reads and judges everything, and makes nothing. */
  dryRun: boolean;
  /** Goes on with what there is. */
  force: boolean;
  timeoutMs: number;
}

/** What `cpfs meta rebuild -o json` prints. Stable: fields are added, never changed. */
export interface RebuildReport extends Rebuilt {
  version: 1;
  cluster: string;
  /** Wall clock of the newest record; what was changed after it may be older, or gone. ISO 8601. */
  asOf: string;
  ageSeconds: number;
  /** Batch of the newest record. */
  batch: number;
  servers: {uuid: string; address: string; group: number; epoch: number}[];
  missing: Missing[];
  shards: {total: number; lacking: number; older: number; damaged: number};
  /** Objects of which too few columns are left to be read; they were removed, and are removed now. */
  remains: number;
  /** Objects that have columns of a later move than the records know. */
  moved: number;
  /** Everything that may be other than it was. */
  uncertain: number;
  state: string | null;
}

/** Makes the folder of a meta server from what data servers have. CliError: it cannot, or should not. */
export async function rebuild(
  options: RebuildOptions,
  say: (line: string) => void,
): Promise<RebuildReport> {
  const {state, dryRun} = options;
  if (!dryRun) mustBeEmpty(state);
  const found = new Map<string, AskedServer>();
  const folder = dryRun ? mkdtempSync(join(tmpdir(), 'cpfs-rebuild-')) : join(state, 'rebuilding');
  try {
    await ask(options, options.servers, found, say);
    if (found.size === 0) {
      throw new CliError(
        'none of the data servers answers; start them, they need no meta server for it',
        EXIT.unavailable,
      );
    }
    agree([...found.values()], options);
    if (!dryRun) mkdirSync(state, {recursive: true});
    let report: RebuildReport;
    const kv = await LmdbKv.open(join(folder, 'store'));
    try {
      report = await make(new Rebuild(kv), options, found, say);
    } finally {
      await kv.close();
    }
    if (dryRun) return report;
    publish(state);
    return {...report, state};
  } finally {
    for (const server of found.values()) server.close();
    if (dryRun) rmSync(folder, {recursive: true, force: true});
  }
}

/** The store gets its name when it is whole: a meta server never starts from half of one. */
function publish(state: string): void {
  renameSync(join(state, 'rebuilding', 'store'), join(state, 'store'));
  rmSync(join(state, 'rebuilding'), {recursive: true, force: true});
}

function mustBeEmpty(state: string): void {
  if (!existsSync(state) || readdirSync(state).length === 0) return;
  throw new CliError(
    `${state} is not empty; name a new folder, or move away what is in this one`,
    EXIT.refused,
  );
}

export async function ask(
  {timeoutMs}: {timeoutMs: number},
  addresses: readonly string[],
  found: Map<string, AskedServer>,
  say: (line: string) => void,
): Promise<void> {
  const answers = await Promise.all(
    addresses.map(async (address) => ({
      address,
      answer: await AskedServer.dial(address, timeoutMs),
    })),
  );
  for (const {address, answer} of answers) {
    if (typeof answer === 'string') say(`${address} does not answer: ${answer}`);
    else if (found.has(answer.info.uuid)) answer.close();
    else found.set(answer.info.uuid, answer);
  }
}

/** One cluster, and none that runs. */
export function agree(servers: readonly AskedServer[], {dryRun}: {dryRun: boolean}): void {
  const clusters = new Set(servers.map(({info}) => info.cluster));
  clusters.delete('');
  if (clusters.size > 1) {
    const which = servers.map(({address, info}) => `${address} of ${info.cluster}`).join(', ');
    throw new CliError(
      `these data servers are of different clusters: ${which}; name those of one`,
      EXIT.conflict,
    );
  }
  const led = servers.find(({info}) => info.connected);
  if (led === undefined || dryRun) return;
  throw new CliError(
    `${led.address} is connected to a meta server, so there is one; stop it if it is to be replaced`,
    EXIT.conflict,
  );
}

async function make(
  made: Rebuild,
  options: RebuildOptions,
  found: Map<string, AskedServer>,
  say: (line: string) => void,
): Promise<RebuildReport> {
  const {force} = options;
  const damaged = new Set<string>();
  const read = (shard: number): Promise<BacktraceMark | null> =>
    readShard(made, [...found.values()], shard, damaged, say);
  let common = await read(COMMON_SHARD);
  const known = made.map;
  if (common === null || known === null) {
    throw new CliError(
      'the data servers that answer have no backtraces; name others, the cluster map is with each of them',
      EXIT.notFound,
    );
  }
  const addresses = missingServers(known, new Set(found.keys())).map(({address}) => address);
  await ask(options, addresses, found, say);
  agree([...found.values()], options);
  const servers = [...found.values()];
  // Others may have newer ones.
  common = (await read(COMMON_SHARD)) ?? common;
  const map = made.map ?? known;
  const missing = missingServers(map, new Set(found.keys()));
  const short = shortGroups(map, missing);
  if (short.length > 0 && !force) {
    const which = missing
      .map(({group, slot, address}) => `${group}.${slot} (${address})`)
      .join(', ');
    throw new CliError(
      `group ${short.join(', ')} lacks more servers than its files can do without: ${which}; start them, or go on without with --force`,
      EXIT.refused,
    );
  }
  const best: BacktraceMark[] = [common];
  let lacking = 0;
  for (let shard = 0; shard < ALL_SHARDS; shard++) {
    if (shard === COMMON_SHARD) continue;
    const mark = await read(shard);
    if (mark === null) lacking++;
    else best.push(mark);
  }
  if (lacking > 0 && !force) {
    const which = missing
      .map(({group, slot, address}) => `${group}.${slot} (${address})`)
      .join(', ');
    throw new CliError(
      `of ${lacking} of ${ALL_SHARDS} shards no server that answers has backtraces${which === '' ? '' : `; these do not answer: ${which}`}; go on without with --force`,
      EXIT.refused,
    );
  }
  const newest = best.reduce((a, b) => (b.position > a.position ? b : a));
  const older = best.filter(({position}) => position < newest.position).length;
  const {strays, remains, moved, highest} = await columns(made, servers, missing.length === 0, say);
  const wall = Date.now();
  const now = {sec: Math.floor(wall / 1000), nsec: (wall % 1000) * 1e6};
  const line = Math.max(...servers.flatMap(({marks}) => [...marks.values()].map((m) => m.line)));
  const rebuilt = await made.finish(strays, {
    now,
    position: newest.position + POSITION_MARGIN,
    line: line + 1,
    terms: TERMS_MARGIN,
    idsBelow: Math.max(made.idsBelow, highest + 1) + IDS_MARGIN,
    map: (bytes) =>
      continuedMap(
        bytes,
        servers.map(({info}) => info),
      ),
  });
  const {namesLost, namesDropped, mended, unnamed, bytesLost} = rebuilt;
  return {
    version: 1,
    cluster: made.superblock().cluster,
    asOf: new Date(newest.atMs).toISOString(),
    ageSeconds: Math.max(0, Math.round((wall - newest.atMs) / 1000)),
    batch: newest.position,
    servers: servers.map(({info: {uuid, address, group, epoch}}) => ({
      uuid,
      address,
      group,
      epoch,
    })),
    missing,
    shards: {total: ALL_SHARDS, lacking, older, damaged: damaged.size},
    ...rebuilt,
    remains,
    moved,
    uncertain: namesLost + namesDropped + mended + unnamed + rebuilt.strays + bytesLost + moved,
    state: null,
  };
}

/** From the server that has the newest records of it, or the next one. Gives as of when they are; null: nobody has any. */
async function readShard(
  made: Rebuild,
  servers: readonly AskedServer[],
  shard: number,
  damaged: Set<string>,
  say: (line: string) => void,
): Promise<BacktraceMark | null> {
  const keepers = servers
    .flatMap((server) => {
      const mark = server.marks.get(shard);
      return mark === undefined ? [] : [{server, mark}];
    })
    .sort((a, b) => b.mark.line - a.mark.line || b.mark.position - a.mark.position);
  for (const {server, mark} of keepers) {
    try {
      for await (const entries of server.shard(shard)) await made.add(entries);
      return mark;
    } catch (error) {
      if (!(error instanceof FsError || error instanceof Lost)) throw error;
      damaged.add(`${server.address}/${shard}`);
      say(`${server.address} cannot give shard ${shard}: ${messageOf(error)}`);
    }
  }
  return null;
}

/** Compares what columns there are with the records. */
export async function columns(
  made: Rebuild,
  servers: readonly AskedServer[],
  all: boolean,
  say: (line: string) => void,
) {
  const strays = new Strays();
  const moved = new Set<number>();
  let highest = 0;
  for (const server of servers) {
    try {
      for await (const page of server.columns()) {
        for (const id of page) {
          highest = Math.max(highest, id.oid);
          const newest = made.newestGeneration(id.oid);
          if (newest === null) {
            if (!made.knows(id.oid)) await strays.add(server, id);
          } else if (id.generation > newest) moved.add(id.oid);
        }
      }
    } catch (error) {
      if (!(error instanceof FsError || error instanceof Lost)) throw error;
      say(`${server.address} cannot list its columns: ${messageOf(error)}`);
    }
  }
  const {strays: found, left} = strays.files(made.superblock().rootLayout, all);
  return {strays: found, remains: left, moved: moved.size, highest};
}
