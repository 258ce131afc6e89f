import {FsError, Lost, messageOf} from '../../core/base/errors.js';
import {
  type ChunkVerdict,
  type ColumnFault,
  checkChunk,
  mendChunk,
  removeStray,
} from '../../core/client/check.js';
import type {OpenedClient} from '../../core/client/index.js';
import type {ChunkPlace} from '../../core/client/place.js';
import {isAway, SLOT, slotStateName} from '../../core/cluster/map.js';
import {pathOf as fileOf, nameOf} from '../../core/data/format.js';
import {sleep} from '../../core/env/clock.js';
import {chunkDataBytes, groupOf, slotColumn} from '../../core/layout/stripe.js';
import type {ChunkRef, InodeInfo} from '../../core/protocol/gen/wire.js';
import {OPS} from '../../core/protocol/ops.js';
import {allInodes, chosen, type NameSource, pathOf} from './names.js';
import {type Finding, REPAIR_MENDS, type Report} from './report.js';

/** Files that are looked at at the same time. */
const PARALLEL = 3;
const PAGE = 512;
/** What does not seem to belong is looked for again: most of it has been removed since it was listed. A removal that is under way ends soon. */
const AGAIN_MS = [0, 2_000];

export interface ColumnChecks {
  client: OpenedClient;
  source: NameSource;
  report: Report;
  repair: boolean;
}

/** Compares the columns of every chunk of every file. */
export async function checkFiles(checks: ColumnChecks): Promise<void> {
  const running = new Set<Promise<void>>();
  for await (const inode of allInodes(checks.source)) {
    const {layout, problem, size, inlineBytes} = inode;
    if (layout === null || problem !== '' || size <= inlineBytes) continue;
    const work = checkFile(checks, inode).finally(() => running.delete(work));
    running.add(work);
    if (running.size >= PARALLEL) await Promise.race(running);
  }
  await Promise.all(running);
}

async function checkFile(checks: ColumnChecks, inode: InodeInfo): Promise<void> {
  const count = Math.ceil(inode.size / chunkDataBytes(inode.layout!));
  for (let chunk = 0; chunk < count; chunk++) {
    checks.report.looked.chunks++;
    if (!(await checkOne(checks, inode, chunk))) return;
  }
}

/** False: the object is gone. */
async function checkOne(checks: ColumnChecks, inode: InodeInfo, chunk: number): Promise<boolean> {
  const {client, report, repair} = checks;
  const {oid, size} = inode;
  let verdict: ChunkVerdict;
  try {
    verdict = await checkChunk(client, {oid, size, layout: inode.layout!}, chunk);
  } catch (error) {
    report.miss(`files whose servers did not answer: ${messageOf(error)}`);
    return true;
  }
  if (verdict.state === 'gone') return false;
  if (verdict.state === 'pending') {
    report.miss('chunks that are being written, or are yet to be compared by a resync');
    return true;
  }
  const {place, faults, unseen, mendable} = verdict.look;
  for (const column of unseen) report.miss(awayOf(place, column));
  if (faults.length === 0) return true;
  const left = repair ? await mend(checks, oid, chunk) : null;
  const path = await pathOf(checks.source, oid);
  for (const fault of faults) {
    const mended = Array.isArray(left) && !left.some(({column}) => column === fault.column);
    const why = typeof left === 'string' ? left : 'too few other columns are good';
    const todo = !mendable
      ? 'nothing that is left can tell what it was; restore the file from a copy of it'
      : repair
        ? `not mended: ${why}; what cannot be read is EIO`
        : REPAIR_MENDS;
    report.add({kind: 'column', ...at(place, fault), path, what: whatOf(fault), todo, mended});
  }
  return true;
}

/** What is wrong after it, or why it was not tried. */
async function mend(
  {client}: ColumnChecks,
  oid: number,
  chunk: number,
): Promise<readonly ColumnFault[] | string> {
  try {
    const after = await mendChunk(client, oid, chunk);
    return after.state === 'looked' ? after.look.faults : [];
  } catch (error) {
    return messageOf(error);
  }
}

function at(place: ChunkPlace, {column}: ColumnFault): Partial<Finding> {
  const {oid, chunk, generation, group, slots, infos} = place;
  return {
    inode: oid,
    chunk,
    column,
    group,
    slot: slots[column]!,
    server: infos[column]!.server?.address ?? null,
    file: fileOf({oid, chunk, generation}),
  };
}

function whatOf({kind, blocks}: ColumnFault): string {
  const some = blocks === 1 ? '1 block' : `${blocks} blocks`;
  switch (kind) {
    case 'missing':
      return `its file is not there (${some} lacking)`;
    case 'wrong':
      return 'its file is that of another column, or its header cannot be read';
    case 'bad':
      return `${some} of it fail their sums`;
    case 'stale':
      return `${some} of it are not what the redundancy was made of`;
    case 'redundancy':
      return `${some} of it are not the redundancy of the data`;
    case 'long':
      return `it has ${some} behind the end of the file`;
  }
}

function awayOf(place: ChunkPlace, column: number): string {
  const info = place.infos[column]!;
  const slot = `${place.group}.${place.slots[column]}`;
  return info.state === SLOT.ready
    ? `columns on slot ${slot}, which did not answer`
    : `columns on slot ${slot}, which is ${slotStateName(info.state)}`;
}

/** Goes through what each server has, and looks for what is nobody's or does not belong there. */
export async function checkInventories(checks: ColumnChecks): Promise<void> {
  const {client, report} = checks;
  for (const {id, slots} of client.parts.path.columns.map.groups) {
    for (const [slot, info] of slots.entries()) {
      if (info.state === SLOT.ready) {
        try {
          await checkInventory(checks, id, slot);
        } catch (error) {
          if (!(error instanceof Lost || error instanceof FsError)) throw error;
          report.miss(`the inventory of slot ${id}.${slot}: ${messageOf(error)}`);
        }
      } else if (isAway(info) || info.state === SLOT.recovering)
        report.miss(`the inventory of slot ${id}.${slot}, which is ${slotStateName(info.state)}`);
    }
  }
}

async function checkInventory(checks: ColumnChecks, group: number, slot: number): Promise<void> {
  const {client, source, report} = checks;
  for (let cursor = ''; ; ) {
    const page = await listPage(client, group, slot, cursor);
    report.looked.columns += page.chunks.length;
    let odd = page.chunks;
    let inodes = await inodesOf(source, odd);
    odd = odd.filter((one) => oddness(checks, group, slot, one, inodes) !== null);
    for (const wait of AGAIN_MS) {
      if (odd.length === 0) break;
      await sleep(client.parts.path.clock, wait);
      const still = new Set((await listPage(client, group, slot, cursor)).chunks.map(nameOf));
      odd = odd.filter((one) => still.has(nameOf(one)));
      inodes = await inodesOf(source, odd);
      odd = odd.filter((one) => oddness(checks, group, slot, one, inodes) !== null);
    }
    if (odd.length > 0) await judge(checks, group, slot, odd, inodes);
    if (page.end) return;
    cursor = page.cursor;
  }
}

async function listPage(
  client: OpenedClient,
  group: number,
  slot: number,
  cursor: string,
): Promise<{chunks: ChunkRef[]; cursor: string; end: boolean}> {
  const request = {cursor, max: PAGE, kind: 'columns'};
  const {message} = await client.parts.path.columns.call(group, slot, OPS.list, request);
  return message;
}

interface Inodes {
  byOid: ReadonlyMap<number, InodeInfo>;
  idsBelow: number;
}

async function inodesOf(source: NameSource, chunks: readonly ChunkRef[]): Promise<Inodes> {
  const byOid = await chosen(source, [...new Set(chunks.map(({oid}) => oid))]);
  const {idsBelow} = await source.inodes({oids: [1]});
  return {byOid, idsBelow};
}

type Oddness = 'unknown' | 'leak' | 'stray' | 'beyond';

/** Null: the column belongs where it is. unknown: of an object that never was; stray: of another server; beyond: behind the end. */
function oddness(
  {client}: ColumnChecks,
  group: number,
  slot: number,
  one: ChunkRef,
  {byOid, idsBelow}: Inodes,
): Oddness | null {
  const inode = byOid.get(one.oid)!;
  if (inode.missing) return one.oid >= idsBelow ? 'unknown' : inode.removing ? null : 'leak';
  const {layout, size} = inode;
  // Not to be judged by an inode that is damaged itself.
  if (inode.problem !== '') return null;
  // It is being moved there, or was moved from there and the column goes as its server is told.
  if (one.generation === inode.next?.generation) return null;
  if (one.generation !== layout?.generation && inode.removing) return null;
  if (layout === null || one.generation !== layout.generation) return 'stray';
  const count = client.parts.path.columns.map.groups.find(({id}) => id === group)!.slots.length;
  if (groupOf(layout, one.chunk) !== group) return 'stray';
  if (slotColumn(one.oid, one.chunk, slot, count, layout) === -1) return 'stray';
  return one.chunk * chunkDataBytes(layout) >= size ? 'beyond' : null;
}

async function judge(
  checks: ColumnChecks,
  group: number,
  slot: number,
  odd: readonly ChunkRef[],
  inodes: Inodes,
): Promise<void> {
  const {client, report, source, repair} = checks;
  const {columns} = client.parts.path;
  const info = columns.map.groups.find(({id}) => id === group)?.slots[slot];
  for (const one of odd) {
    const what = oddness(checks, group, slot, one, inodes);
    const {oid, chunk} = one;
    const found = {
      inode: oid,
      chunk,
      group,
      slot,
      server: info?.server?.address ?? null,
      file: fileOf(one),
    };
    if (what === 'beyond') await checkOne(checks, inodes.byOid.get(oid)!, chunk);
    if (what === 'unknown') {
      const todo =
        'if other files are missing, too, the state of the meta server is an old one: stop writing; else move this file away';
      report.add({kind: 'leak', ...found, what: 'it is of an object that never was', todo});
    }
    if (what === 'leak') {
      const remove = async (): Promise<void> => {
        const {epoch} = columns.map;
        await columns.call(group, slot, OPS.removeColumn, {epoch, column: one});
      };
      const mended = repair && (await succeeded(remove()));
      const todo = `${REPAIR_MENDS}, and its server does in an hour or two`;
      report.add({
        kind: 'leak',
        ...found,
        what: 'it is of an object that was removed',
        todo,
        mended,
      });
    }
    if (what === 'stray') {
      const mended = repair && (await succeeded(removeStray(client, group, slot, one)));
      const path = await pathOf(source, oid);
      const todo = repair
        ? 'not removed: its chunk is not whole where it belongs, so this may be all that is left of it'
        : `${REPAIR_MENDS}: it goes, if its chunk is whole where it belongs`;
      const finding = {what: 'it does not belong on this server', todo, mended};
      report.add({kind: 'leak', ...found, path, ...finding});
    }
  }
}

async function succeeded(work: Promise<void>): Promise<boolean> {
  try {
    await work;
    return true;
  } catch (error) {
    if (error instanceof Error) return false;
    throw error;
  }
}
