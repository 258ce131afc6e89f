import {messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {INLINE_BYTES_MAX} from '../base/inline-limits.js';
import {MIB} from '../base/units.js';
import {short} from '../cluster/map.js';
import type {Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';
import {EVERYTHING, WHOLE} from '../lease/ranges.js';
import {NAME_CHANGES} from '../namespace/table.js';
import type {StatusReply} from '../protocol/gen/wire.js';
import {LEASE, OPS, SET} from '../protocol/ops.js';
import type {CacheOwner, Client} from './api.js';
import {COLUMN_WAIT_MS} from './column-io.js';
import type {BytePath} from './columns.js';
import {Copies} from './copies.js';
import {DataServers} from './data-servers.js';
import {DirectoryAhead} from './directory-ahead.js';
import {DirtyCache} from './dirty-cache.js';
import {FileBytes, type FileParts} from './files.js';
import {Flusher} from './flusher.js';
import {JointReads} from './joint-reads.js';
import {Journal} from './journal.js';
import {LeaseHolder} from './lease-holder.js';
import {LocalNames} from './local-names.js';
import {ClientLocks} from './locks.js';
import {NameCache} from './name-cache.js';
import {MetaNamespace} from './namespace.js';
import {OpenAhead} from './open-ahead.js';
import {cutOverlong} from './overlong.js';
import {ReadAhead} from './read-ahead.js';
import {RecentBlocks} from './recent-blocks.js';
import {Reserved} from './reserved.js';
import {Session} from './session.js';
import {Slots} from './slots.js';
import {Stats} from './stats.js';
import {Syncer} from './syncer.js';

const DIRTY_BYTES_MAX = 64 * MIB;
const READAHEAD_BYTES = 4 * MIB;
const CONNECT_MS: Ms = 10_000;
/** All servers of a group that were restarted together are back by then. */
const TOO_FEW_WAIT_MS: Ms = 20_000;
/** The same for clients whose programs are to wait for an administrator. */
const FAILURE_WAIT_MS: Ms = 24 * 3_600_000;
/** What waits for it is asked for again a second later. */
/** A restart of the meta server is over by then. */
const GOODBYE_MS: Ms = 5_000;
const NAMES_SYNC_MS: Ms = 5_000;

export interface ClientOptions {
  /** host:port of the meta server. */
  meta: string;
  /** For people: host:pid, or the mount point. */
  name: string;
  /** Where it is, outermost first, with slashes between: near copies are read. Default: not known. */
  location?: string;
  /** Id of the data server in whose process this works: when it is lost, so is the session. */
  server?: string;
  /** It works behind the backs of programs: servers tell it when they have others to serve. Default: false. */
  agent?: boolean;
  cacheOwner?: CacheOwner;
  /** Most memory for bytes that were written and are not at the data servers. */
  dirtyBytesMax?: number;
  /** Files up to this size are kept with their inodes by the meta server; 0: none. */
  inlineBytesMax?: number;
  /** False: every change of a name or an attribute is asked for at once. Default: true. */
  writeback?: boolean;
  /** Bytes are with their servers when a write returns. Default: false. */
  writeThrough?: boolean;
  /** True: names and attributes are not leased for reading; whoever is told of them believes them for as long as he likes. Default: false. */
  unleasedNames?: boolean;
  /** False: names and attributes are asked for each time. Default: true. */
  cacheNames?: boolean;
  /** True: fsync returns when bytes are in the memory of all their servers; a power cut of all of them may take them. Default: false. */
  replicated?: boolean;
  /** Files that are opened for reading, and directories that are listed, before the next ones are asked for together. */
  opensBeforeAhead?: number;
  /** Most bytes that are read ahead of one program; 0: none. */
  readaheadBytes?: number;
  /** May blocks that were read or written be kept for whoever reads them again? */
  keepBlocks?: boolean;
  /** Do reads wait for a day where a group has lost more servers than it bears? Default: they are EIO once it is no restart. */
  waitOnFailure?: boolean;
  /** How long to wait for the first connection. */
  connectMs?: Ms;
}

/** Requests that change names or attributes; a size alone is not one of them. */
const CHANGES: ReadonlySet<number> = new Set([
  ...NAME_CHANGES.keys(),
  OPS.setxattr.code,
  OPS.removexattr.code,
  OPS.layoutSet.code,
]);

/** Fields of requests that say what they are about. */
interface Concerned {
  oid?: number;
  parent?: number;
  newParent?: number;
  more?: readonly number[];
  mask?: number;
}

export type ClientEnv = Pick<Env, 'clock' | 'random' | 'net' | 'codec' | 'log' | 'pool'>;

/** A client and its parts; the parts are for the recovery agents (repair.ts) and for tests. */
export interface OpenedClient extends Client {
  readonly stats: Stats;
  readonly parts: FileParts;
}

/** Registers with the meta server. FsError EIO if it cannot be reached in time; the detail says why. */
export async function openClient(env: ClientEnv, options: ClientOptions): Promise<OpenedClient> {
  const stats = new Stats();
  const slots = new Slots(env.pool, env.clock);
  const journal = new Journal();
  const cache = new DirtyCache(env.pool, {bytesMax: options.dirtyBytesMax ?? DIRTY_BYTES_MAX});
  // The session's events come only after its first connection, when everything is there.
  const session: Session = new Session(
    env,
    {
      address: options.meta,
      name: options.name,
      server: options.server ?? '',
      agent: options.agent ?? false,
      unleased: options.unleasedNames ?? false,
      location: options.location ?? '',
    },
    {
      recall: (...a) => holder.recall(...a),
      copied: (...a) => holder.copied(...a),
      report: (oid) => holder.report(oid),
      returning: () => holder.returning(),
      holdings: () => holder.holdings(),
      gone: (oids) => holder.gone(oids),
      up: () => holder.closes.send(),
      restarted: () => holder.restarted(),
      mapChanged: (map) => {
        columns.mapChanged(map);
        syncer.mapChanged(map);
      },
      settled: (code, request) => {
        if (journal.empty) return null;
        // What is left of a crash is what was done up to some moment.
        const {mask = 0} = request as Concerned;
        if (CHANGES.has(code) && (mask & SET.size) === 0) return flusher.tellNames();
        const {oid = 0, parent = 0, newParent = 0, more = []} = request as Concerned;
        const touched = [oid, parent, newParent, ...more].some((one) => journal.touches(one));
        return touched ? flusher.tellNames() : null;
      },
      lockRecall: (...a) => locks.recall(...a),
      locks: () => locks.statements(),
      lapsed: () => void options.cacheOwner?.voidNames(),
      lost: (reason) => {
        columns.closeAll(reason);
        const changes = journal.lose();
        if (changes > 0) env.log.error('names.lost', {changes, reason: 'session lost'});
        holder.lost();
        locks.lost();
      },
    },
    stats,
  );
  const columns = new DataServers(env, session);
  const locks: ClientLocks = new ClientLocks(session);
  const path: BytePath = {
    clock: env.clock,
    random: env.random,
    codec: env.codec,
    log: env.log,
    pool: env.pool,
    slots,
    columns,
    stats,
    repair: false,
    columnWaitMs: COLUMN_WAIT_MS,
    joint: new JointReads(),
    copies: new Copies(env.clock, env.random, options.location),
    tooFewWaitMs: options.waitOnFailure === true ? FAILURE_WAIT_MS : TOO_FEW_WAIT_MS,
  };
  const flusher: Flusher = new Flusher(path, session, cache, {
    journal,
    inlineBytesMax: options.inlineBytesMax ?? INLINE_BYTES_MAX,
    planSync: () => syncer.plan(),
    sync: (held, losses) => syncer.sync(held, false, losses),
    synced: (held, chunk, written) => syncer.syncedAlready(held, chunk, written),
    recent: () => recent,
  });
  const holder: LeaseHolder = new LeaseHolder(
    env,
    session,
    cache,
    {
      cacheOwner: options.cacheOwner ?? null,
      flush: (held, range) => flusher.flush(held, false, range),
      ended: (oid) => {
        names.forget(oid);
        readAhead.forget(oid);
      },
      returned: (oid) => names.returned(oid),
      dropped: (held) => flusher.forget(held),
      settle: (oid) => (journal.touches(oid) ? flusher.tellNames() : Promise.resolve()),
      unsettled: (oid) => journal.touches(oid),
      unborn: (oid) => journal.unborn(oid),
      unsent: (oid) => journal.unsent(oid),
      removed: () => journal.removed(),
      told: (item) => {
        if (journal.touches(item.oid)) names.told(item);
        else names.forgetAttr(item.oid);
      },
      cut: (held, until) => cutOverlong(parts, held, until),
      doubt: (held) => syncer.doubt(held),
      short: ({layout}) => layout !== null && short(columns.map, layout),
      tooFewWaitMs: path.tooFewWaitMs,
    },
    stats,
  );
  const recent = new RecentBlocks(env.pool, columns.lives, options.keepBlocks ?? true);
  const readAhead = new ReadAhead(path, recent, options.readaheadBytes ?? READAHEAD_BYTES);
  const names = new NameCache(session, holder, options.cacheNames ?? true);
  flusher.onTold = (attrs) => {
    for (const {attr, under} of attrs)
      if (attr !== null && !journal.touches(attr.oid)) names.learn(attr, under, holder.ticket);
  };
  flusher.onRefused = (oids) => {
    for (const oid of oids) {
      names.returned(oid);
      names.forget(oid);
      names.forgetAttr(oid);
      void options.cacheOwner?.invalidate(oid, 0, WHOLE);
    }
  };
  const syncer: Syncer = new Syncer(path, holder, () =>
    session.call(OPS.syncMeta, {}, {deadlineMs: NAMES_SYNC_MS}),
  );
  const local = new LocalNames({
    clock: env.clock,
    session,
    holder,
    names,
    journal,
    reserved: new Reserved(env.clock, session),
    plan: () => flusher.planNames(),
  });
  const directoryAhead = new DirectoryAhead({
    clock: env.clock,
    log: env.log,
    session,
    holder,
    names,
    lent: options.writeback === false ? null : (...a) => local.lent(...a),
    listedBefore: options.opensBeforeAhead,
  });
  local.asked = (oid) => directoryAhead.changed(oid);
  local.coming = (oid) => directoryAhead.coming(oid);
  const parts: FileParts = {
    path,
    session,
    holder,
    cache,
    flusher,
    syncer,
    names,
    journal,
    locks,
    writeThrough: options.writeThrough ?? false,
    replicated: options.replicated ?? false,
    readAhead,
    ahead: new OpenAhead({
      clock: env.clock,
      log: env.log,
      pool: env.pool,
      session,
      holder,
      names,
      opensBefore: options.opensBeforeAhead,
    }),
    directoryAhead,
    local: options.writeback === false ? null : local,
  };
  try {
    await session.ready(options.connectMs ?? CONNECT_MS);
  } catch (error) {
    await session.close(0);
    throw error;
  }
  return clientOf(env, parts, slots, columns);
}

function clientOf(
  env: ClientEnv,
  parts: FileParts,
  slots: Slots,
  columns: DataServers,
): OpenedClient {
  const {session, holder, flusher, syncer, path, locks} = parts;
  const files = new FileBytes(parts);
  const names = new MetaNamespace(parts, files);
  const orderly = async (): Promise<void> => {
    await flusher.flushAll();
    await flusher.tellNames();
    await syncer.close();
    await holder.yieldAll();
  };
  return {
    get session() {
      return session.id;
    },
    stats: path.stats,
    parts,
    held: (oid, range = EVERYTHING) => {
      const held = session.valid ? holder.peek(oid) : undefined;
      if (held === undefined) return LEASE.none;
      return held.split && held.covers(LEASE.write, range) ? LEASE.write : held.mode;
    },
    nameValid: (...a) => parts.names.nameValid(...a),
    attrValid: (oid) => parts.names.attrValid(oid),
    lookup: (...a) => names.lookup(...a),
    getattr: (...a) => names.getattr(...a),
    setattr: (...a) => names.setattr(...a),
    mkdir: (...a) => names.mkdir(...a),
    mknod: (...a) => names.mknod(...a),
    symlink: (...a) => names.symlink(...a),
    readlink: (...a) => names.readlink(...a),
    link: (...a) => names.link(...a),
    unlink: (...a) => names.unlink(...a),
    rmdir: (...a) => names.rmdir(...a),
    rename: (...a) => names.rename(...a),
    readdir: (...a) => names.readdir(...a),
    statfs: () => names.statfs(),
    getxattr: (...a) => names.getxattr(...a),
    setxattr: (...a) => names.setxattr(...a),
    listxattr: (...a) => names.listxattr(...a),
    removexattr: (...a) => names.removexattr(...a),
    layoutGet: (...a) => names.layoutGet(...a),
    layoutSet: (...a) => names.layoutSet(...a),
    create: (...a) => files.create(...a),
    open: (...a) => files.open(...a),
    release: (oid) => files.release(oid),
    read: (...a) => files.read(...a),
    write: (...a) => files.write(...a),
    flush: (oid) => files.flush(oid),
    fsync: (...a) => files.fsync(...a),
    syncAll: () => files.syncAll(),
    lock: (...a) => locks.lock(...a),
    testLock: (...a) => locks.testLock(...a),
    unlockAll: (...a) => locks.unlockAll(...a),
    holdsLocks: (...a) => locks.holdsLocks(...a),
    status: async (): Promise<StatusReply> => (await session.call(OPS.status, {})).message,
    close: async (deadlineMs) => {
      let timer!: Timer;
      const late = new Promise<never>((_resolve, reject) => {
        timer = env.clock.timer(deadlineMs, () => reject(new Error('the deadline has passed')));
      });
      let writing = true;
      const ended = orderly().finally(() => {
        writing = false;
      });
      await Promise.race([ended, late]).catch((error: unknown) =>
        env.log.error('client.close', {reason: messageOf(error)}),
      );
      // It would keep a process that has nothing else to do.
      timer.cancel();
      parts.local?.close();
      parts.readAhead.close();
      flusher.close();
      holder.closes.close();
      // Where a write may still arrive, or is half done, nobody else may get the lease before the session is fenced.
      const doubt = writing || [...holder.all()].some((held) => holder.doubts(held) || held.uneven);
      await session.close(GOODBYE_MS, !doubt);
      for (const held of holder.all()) held.forget();
      columns.closeAll('closed');
      slots.close();
    },
  };
}
