import {FsError} from '../base/errors.js';
import type {Identity, Limits} from '../base/identity.js';
import {ROOT_OID} from '../base/ids.js';
import {latin1} from '../base/latin1.js';
import type {BufferPool} from '../base/pool.js';
import type * as wire from '../protocol/gen/wire.js';
import {type AnyOp, OPS, SET} from '../protocol/ops.js';
import type {Guard} from '../transport/handlers.js';
import type {Answer} from '../transport/peer-api.js';
import type {Machine} from './machine.js';
import type {ClientConnection, Parts} from './parts.js';
import type {Session} from './sessions.js';
import type {Tx} from './tx.js';

/** What a session may do with its credential, less than others. */
export interface Confined {
  readonly name: string;
  /** The directory that it sees, with all that is below; ROOT_OID: all. */
  readonly root: number;
  readonly squash: Limits['squash'];
  readonly bytes: number;
  /** Names under which it was shown files: the inode of one that has, or had, several does not say where it is. The oldest first. */
  readonly shown: Map<number, readonly Shown[]>;
}

interface Shown {
  readonly parent: number;
  readonly name: string;
}

const SHOWN_MAX = 65_536;
/** Of one file. */
const SHOWN_NAMES_MAX = 8;
/** A path has fewer names; whatever a damaged store says, this ends. */
const DEPTH_MAX = 10_000;
const DEVICES = new Set([0o020000, 0o060000]);
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;

/** Null: it is not confined. FsError: the folder of its credential is not there. */
export function confinedBy(machine: Machine, identity: Identity | null): Confined | null {
  if (identity?.kind !== 'client' || identity.limits === undefined) return null;
  const {path, squash, bytes} = identity.limits;
  const root = machine.read((tx) => {
    let at: number | null = ROOT_OID;
    for (const name of path.split('/').slice(1)) {
      if (at !== null && tx.part(at) === null) throw new FsError('ENOTDIR', path);
      at = at === null ? null : tx.child(at, Buffer.from(name));
    }
    if (at !== null && tx.part(at) === null) throw new FsError('ENOTDIR', path);
    return at;
  });
  if (root === null)
    throw new FsError('ENOENT', `the folder ${path} of ${identity.name} is not there: make it`);
  return {name: identity.name, root, squash, bytes, shown: new Map()};
}

/** Is it the session's folder, or below it, as names are now? Each step is one row of the store. */
export function within(tx: Tx, confined: Confined, oid: number): boolean {
  const {root, shown} = confined;
  let at = oid;
  for (let steps = 0; steps < DEPTH_MAX; steps++) {
    if (at === root) return true;
    if (at === ROOT_OID || at === 0) return false;
    const inode = tx.find(at);
    if (inode === null) return false;
    const up = inode.directory?.parent ?? inode.parent;
    if (up === 0) {
      const names = shown.get(at) ?? [];
      const there = names.filter(({parent, name}) => tx.name(parent, name)?.oid === at);
      return there.some(({parent}) => within(tx, confined, parent));
    }
    at = up;
  }
  return false;
}

/** Is it what this session may see? What has no name any more is, to who had it open before. */
export function sees(
  machine: Machine,
  {confined, opens}: Pick<Session, 'confined' | 'opens'>,
  oid: number,
): boolean {
  if (confined === null || confined.root === ROOT_OID) return true;
  return machine.audit(
    (tx) => within(tx, confined, oid) || (opens.has(oid) && tx.find(oid)?.nlink === 0),
  );
}

/** What is left of space for who sees a part of it. */
export function exported<T extends {totalBytes: number; freeBytes: number}>(
  confined: Confined | null,
  bytes: T,
): T {
  if (confined === null || confined.bytes === 0) return bytes;
  const totalBytes = Math.min(bytes.totalBytes, confined.bytes);
  return {...bytes, totalBytes, freeBytes: Math.min(bytes.freeBytes, totalBytes)};
}

interface Sight {
  /** EACCES: it is not below. */
  must(...oids: number[]): void;
  sees(oid: number): boolean;
  confined: Confined;
}

type Look<Q> = (q: Q, s: Sight) => void;

const TABLE = new Map<number, Look<never>>();
const row = <Q>(ops: {code: number}[], look: Look<Q>): void => {
  for (const {code} of ops) TABLE.set(code, look as Look<never>);
};

/** What is about the session, the cluster, or what it holds already. */
row(
  [
    ...[OPS.heartbeat, OPS.getMap, OPS.report, OPS.goodbye, OPS.statfs, OPS.syncMeta],
    ...[OPS.release, OPS.lockCancel, OPS.lockReturn],
  ],
  () => {},
);
row<{oid: number}>(
  [
    ...[OPS.getattr, OPS.readlink, OPS.open, OPS.getxattr, OPS.setxattr, OPS.listxattr],
    ...[OPS.removexattr, OPS.layoutGet, OPS.layoutSet, OPS.readInline, OPS.lease, OPS.lock],
    ...[OPS.readdir],
  ],
  ({oid}, s) => s.must(oid),
);
row<{parent: number}>([OPS.lookup, OPS.unlink], ({parent}, s) => s.must(parent));
row<wire.CreateRequest>([OPS.create, OPS.mkdir, OPS.symlink, OPS.mknod], (q, {must, confined}) => {
  must(q.parent);
  const {squash} = confined;
  if (squash === null) return;
  if (DEVICES.has(q.mode & S_IFMT)) throw new FsError('EPERM', `${confined.name} makes no devices`);
  if (q.caller.uid === 0) q.caller.uid = squash.uid;
  if (q.caller.gid === 0) q.caller.gid = squash.gid;
});
row<wire.SetattrRequest>([OPS.setattr], ({oid, mask, uid, gid}, {must, confined}) => {
  must(oid);
  const root = ((mask & SET.uid) !== 0 && uid === 0) || ((mask & SET.gid) !== 0 && gid === 0);
  if (root && confined.squash !== null)
    throw new FsError('EPERM', `${confined.name} gives nothing to root`);
});
row<wire.LinkRequest>([OPS.link], ({oid, parent}, s) => s.must(oid, parent));
row<wire.RenameRequest>([OPS.rename], ({parent, newParent}, s) => s.must(parent, newParent));
row<wire.ReaddirManyRequest>([OPS.readdirMany], (q, {sees}) => {
  q.oids = q.oids.filter(sees);
  q.write = false;
});
row<wire.LeaseManyRequest>([OPS.leaseMany], (q, {sees}) => {
  q.oids = q.oids.filter(sees);
});
row<wire.FlushRequest>([OPS.flush], (q, {must, sees, confined}) => {
  // It gets no leases of directories for writing.
  if (q.changes.length > 0) throw new FsError('EACCES', `${confined.name} tells no changes`);
  // Others are told in the same message; of what was moved away nothing is taken.
  q.items = q.items.filter(({oid, inlineBytes}) => {
    if (inlineBytes > 0) must(oid);
    return sees(oid);
  });
});
row<wire.YieldRequest>([OPS.yieldLease], (q, {sees}) => {
  // What it held when its folder was moved away it gives back, and nothing is changed by it.
  if (q.attr !== null && !sees(q.attr.oid)) q.attr = null;
});
row<wire.LocksRequest>([OPS.lockReclaim], (q, {sees}) => {
  q.objects = q.objects.filter(({oid}) => sees(oid));
});
/** Its handler leaves out what is not below. */
row([OPS.reclaim], () => {});

/** Requests of sessions that are confined are held against the names there are; what is not in the table is not for them. */
export function confinement(
  parts: () => Pick<Parts, 'machine'>,
  pool: Pick<BufferPool, 'release'>,
): Guard<ClientConnection> {
  return (op, request, c, payload, run) => {
    const {confined} = c.session;
    if (confined === null) return run();
    try {
      const {machine} = parts();
      const its = (oid: number): boolean => sees(machine, c.session, oid);
      const must = (...oids: number[]): void => {
        // Of what is not there its handler says so.
        const outside = oids.find((oid) => !its(oid) && machine.missing([oid]).length === 0);
        if (outside !== undefined)
          throw new FsError('EACCES', `object ${outside} is not what ${confined.name} may see`);
      };
      const look = TABLE.get(op.code) as Look<unknown> | undefined;
      if (look === undefined) throw new FsError('EACCES', `${op.name} is not for ${confined.name}`);
      look(request, {sees: its, must, confined});
    } catch (error) {
      if (payload !== null) pool.release(payload.slot);
      throw error;
    }
    const answer = run();
    if (!SHOWING.has(op.code)) return answer;
    const note = (told: Answer<unknown>): Answer<unknown> => {
      show(parts().machine, confined, op, request, told.message);
      return told;
    };
    return 'then' in answer ? answer.then(note) : note(answer);
  };
}

const SHOWING: ReadonlySet<number> = new Set(
  [
    ...[OPS.lookup, OPS.link, OPS.create, OPS.mknod, OPS.symlink, OPS.rename],
    ...[OPS.readdir, OPS.readdirMany],
  ].map(({code}) => code),
);

/** Files are known by the names under which the session has seen them. */
function show(
  machine: Machine,
  {root, shown}: Confined,
  {code}: AnyOp,
  request: unknown,
  message: unknown,
): void {
  if (root === ROOT_OID) return;
  machine.audit((tx) => {
    const seen = (parent: number, name: Uint8Array): void => {
      const key = latin1(name);
      const there = tx.name(parent, key);
      if (there === null || there.type << 12 === S_IFDIR) return;
      const {oid} = there;
      const others = (shown.get(oid) ?? []).filter((o) => o.parent !== parent || o.name !== key);
      shown.delete(oid);
      shown.set(oid, [{parent, name: key}, ...others].slice(0, SHOWN_NAMES_MAX));
      const [oldest] = shown.keys();
      if (shown.size > SHOWN_MAX) shown.delete(oldest!);
    };
    const page = (parent: number, {entries}: wire.ReaddirReply): void => {
      for (const {name} of entries) seen(parent, name);
    };
    if (code === OPS.readdir.code)
      page((request as wire.ReaddirRequest).oid, message as wire.ReaddirReply);
    else if (code === OPS.readdirMany.code)
      for (const one of (message as wire.ReaddirManyReply).listings) page(one.oid, one.page);
    else if (code === OPS.rename.code) {
      const {parent, name, newParent, newName} = request as wire.RenameRequest;
      seen(newParent, newName);
      // Two that are exchanged.
      seen(parent, name);
    } else {
      const {parent, name} = request as {parent: number; name: Uint8Array};
      seen(parent, name);
    }
  });
}
