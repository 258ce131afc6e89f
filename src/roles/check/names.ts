import {ROOT_OID} from '../../core/base/ids.js';
import {S_IFDIR, S_IFMT} from '../../core/namespace/inode.js';
import type * as wire from '../../core/protocol/gen/wire.js';
import {type Finding, REPAIR_MENDS, type Report} from './report.js';

/** The namespace, page after page, each page of one moment: of a running meta server, or of the files of a stopped one. */
export interface NameSource {
  inodes(q: Partial<wire.InodesRequest>): Promise<wire.InodesReply>;
  names(q: Partial<wire.NamesRequest>): Promise<wire.NamesReply>;
  /** Null: nothing is to be changed. Rejects if it is not as it was found any more. */
  mend: ((q: Partial<wire.MendRequest>) => Promise<void>) | null;
}

/** Ids whose names are counted in one pass over all names: 16 MiB of counters. */
const WINDOW_IDS = 2 ** 21;
/** Objects that seem to have a wrong count of links. */
const SUSPECTS_MAX = 10_000;
/** So often what changes while it is counted is counted again. */
const ROUNDS = 4;
const CHOSEN_MAX = 256;

const NOTHING_MENDS =
  'nothing mends it yet; copy what can be read, and see the log of the meta server';

const text = new TextDecoder();
const isDirectory = ({mode}: wire.InodeInfo): boolean => (mode & S_IFMT) === S_IFDIR;

/** Checks names against inodes, both ways, with bounded memory. */
export async function checkNames(source: NameSource, report: Report): Promise<void> {
  let first = true;
  for (let from = 1; ; ) {
    const next = await source.inodes({after: from - 1, max: 1});
    const start = next.inodes[0]?.oid;
    if (start === undefined && !first) return;
    const window = new Counts(start ?? from, WINDOW_IDS);
    for await (const row of allNames(source)) {
      if (first) await judgeName(source, report, row);
      window.count(row);
    }
    if (start === undefined) return;
    await judgeInodes(source, report, window);
    from = window.end;
    first = false;
  }
}

async function* allNames(source: NameSource): AsyncGenerator<wire.NameInfo> {
  for (let cursor: Uint8Array = new Uint8Array(0); ; ) {
    const page = await source.names({cursor});
    yield* page.names;
    if (page.end) return;
    cursor = new Uint8Array(page.cursor);
  }
}

export async function* allInodes(source: NameSource, from = 1): AsyncGenerator<wire.InodeInfo> {
  for (let after = from - 1; ; ) {
    const page = await source.inodes({after});
    yield* page.inodes;
    if (page.end) return;
    after = page.inodes.at(-1)!.oid;
  }
}

/** How many names each object of a range of ids has, and how many directories are in it. */
class Counts {
  readonly names: Uint32Array;
  readonly directories: Uint32Array;

  constructor(
    readonly start: number,
    count: number,
  ) {
    this.names = new Uint32Array(count);
    this.directories = new Uint32Array(count);
  }

  get end(): number {
    return this.start + this.names.length;
  }

  count({oid, parent, directory, dangling, name}: wire.NameInfo): void {
    // What listings show only is no name.
    if (oid === 0 || dangling || name.length === 0) return;
    const at = oid - this.start;
    if (at >= 0 && at < this.names.length) this.names[at]!++;
    const above = parent - this.start;
    if (directory && above >= 0 && above < this.names.length) this.directories[above]!++;
  }

  links(inode: wire.InodeInfo): number {
    const at = inode.oid - this.start;
    return linksOf(inode, this.names[at]!, this.directories[at]!);
  }
}

/** What the count of links should be. A directory that was removed has none; else one for itself, one for its name, and one of each directory in it. */
function linksOf(inode: wire.InodeInfo, names: number, directories: number): number {
  if (!isDirectory(inode)) return names;
  const named = inode.oid === ROOT_OID ? 1 : names;
  return named === 0 ? 0 : named + 1 + directories;
}

async function judgeName(source: NameSource, report: Report, row: wire.NameInfo): Promise<void> {
  report.looked.names++;
  if (row.problem === '') return;
  const {parent, name, dangling, unlisted} = row;
  let mended = false;
  if ((dangling || unlisted) && source.mend !== null)
    mended = await done(source.mend({oid: 0, parent, name: new Uint8Array(name)}));
  report.add({
    kind: 'name',
    path: `${(await pathOf(source, parent)) ?? `object ${parent}`}/${text.decode(name)}`.replace(
      /^\/\//,
      '/',
    ),
    what: row.problem,
    todo: dangling ? `${REPAIR_MENDS}: the name goes` : unlisted ? REPAIR_MENDS : NOTHING_MENDS,
    mended,
  });
}

async function judgeInodes(source: NameSource, report: Report, counts: Counts): Promise<void> {
  const suspects = new Map<number, wire.InodeInfo>();
  for await (const inode of allInodes(source, counts.start)) {
    if (inode.oid >= counts.end) break;
    report.looked.inodes++;
    if (inode.problem !== '') {
      const {oid, problem} = inode;
      report.add({
        kind: 'inode',
        inode: oid,
        path: await pathOf(source, oid),
        what: problem,
        todo: NOTHING_MENDS,
      });
      continue;
    }
    if (counts.links(inode) === inode.nlink) continue;
    if (suspects.size < SUSPECTS_MAX) suspects.set(inode.oid, inode);
    else report.miss('too many objects seem to have a wrong count of links');
  }
  await judgeLinks(source, report, suspects);
}

/** Counts again, with nobody else: an object that has not changed from before to after had these names all the time. */
async function judgeLinks(
  source: NameSource,
  report: Report,
  suspects: Map<number, wire.InodeInfo>,
): Promise<void> {
  for (let round = 0; suspects.size > 0; round++) {
    const before = await chosen(source, [...suspects.keys()]);
    const names = new Map<number, number>();
    const directories = new Map<number, number>();
    for await (const {oid, parent, directory, dangling, name} of allNames(source)) {
      if (dangling || name.length === 0) continue;
      if (suspects.has(oid)) names.set(oid, (names.get(oid) ?? 0) + 1);
      if (directory && suspects.has(parent))
        directories.set(parent, (directories.get(parent) ?? 0) + 1);
    }
    const after = await chosen(source, [...suspects.keys()]);
    for (const oid of [...suspects.keys()]) {
      const inode = after.get(oid)!;
      const unchanged = before.get(oid)?.version === inode.version;
      const links = linksOf(inode, names.get(oid) ?? 0, directories.get(oid) ?? 0);
      if (!inode.missing && inode.problem === '' && inode.nlink !== links) {
        if (!unchanged && round < ROUNDS) continue;
        if (unchanged) await badLinks(source, report, inode, links);
        else report.miss('objects whose names changed all the time');
      }
      suspects.delete(oid);
    }
  }
}

async function badLinks(
  source: NameSource,
  report: Report,
  inode: wire.InodeInfo,
  links: number,
): Promise<void> {
  const {oid, version, nlink} = inode;
  const mended = source.mend !== null && (await done(source.mend({oid, version, links})));
  const finding: Partial<Finding> = {inode: oid, path: await pathOf(source, oid), mended};
  if (links === 0) {
    const todo = `${REPAIR_MENDS}: it gets the name /lost+found-${oid}`;
    report.add({...finding, kind: 'inode', what: `it has ${nlink} links, but no name`, todo});
  } else
    report.add({
      ...finding,
      kind: 'inode',
      what: `it has ${nlink} links, not ${links}`,
      todo: REPAIR_MENDS,
    });
}

async function done(work: Promise<void>): Promise<boolean> {
  try {
    await work;
    return true;
  } catch {
    return false;
  }
}

/** These inodes, by id. */
export async function chosen(
  source: Pick<NameSource, 'inodes'>,
  oids: readonly number[],
): Promise<Map<number, wire.InodeInfo>> {
  const found = new Map<number, wire.InodeInfo>();
  for (let at = 0; at < oids.length; at += CHOSEN_MAX) {
    const {inodes} = await source.inodes({oids: oids.slice(at, at + CHOSEN_MAX)});
    for (const inode of inodes) found.set(inode.oid, inode);
  }
  return found;
}

/** For people; null: it has none, or it would be dear to find. */
export async function pathOf(
  source: Pick<NameSource, 'inodes'>,
  oid: number,
): Promise<string | null> {
  const {inodes} = await source.inodes({oids: [oid]});
  const path = inodes[0]?.path ?? new Uint8Array(0);
  return path.length === 0 ? null : text.decode(path);
}
