import type {FeatureName} from '../base/features.js';
import * as wire from './gen/wire.js';

type Codec<T> = wire.Codec<T>;

/**
 * One kind of message. A request has a reply of the same code with the reply flag; a push has none. `mutates`:
 * the meta server keeps its reply, so that a request sent again after a reconnect is not done twice.
 */
export interface Op<Q, R> {
  readonly code: number;
  readonly name: string;
  readonly request: Codec<Q>;
  readonly reply: Codec<R>;
  readonly mutates: boolean;
  /** May requests, may replies carry payload? */
  readonly payload: 'none' | 'request' | 'reply';
  /** Only who has this feature is sent it; null: the first release had it. */
  readonly since: FeatureName | null;
}

function op<Q, R>(
  code: number,
  name: string,
  request: Codec<Q>,
  reply: Codec<R>,
  options: {mutates?: boolean; payload?: 'request' | 'reply'; since?: FeatureName} = {},
): Op<Q, R> {
  return {
    code,
    name,
    request,
    reply,
    mutates: options.mutates ?? false,
    payload: options.payload ?? 'none',
    since: options.since ?? null,
  };
}

const change = {mutates: true} as const;
const backtraces = {since: 'backtraces'} as const;
const standbys = {since: 'standbys'} as const;
const deeds = {since: 'deeds'} as const;
const backups = {since: 'backups'} as const;

/** Every message there is. Codes are never reused; 0x01xx any server, 0x02xx meta, 0x03xx data, 0x04xx pushes. */
export const OPS = {
  hello: op(0x0101, 'hello', wire.HelloRequest, wire.HelloReply),
  heartbeat: op(0x0102, 'heartbeat', wire.HeartbeatRequest, wire.HeartbeatReply),

  getMap: op(0x0201, 'meta.map', wire.MapRequest, wire.MapReply),
  report: op(0x0202, 'meta.report', wire.ReportRequest, wire.Empty),
  recovered: op(0x0203, 'meta.recovered', wire.RecoveredRequest, wire.Empty),
  status: op(0x0204, 'meta.status', wire.Empty, wire.StatusReply),
  exists: op(0x0205, 'meta.exists', wire.ExistsRequest, wire.ExistsReply),
  /** An administrator ends a session: every data server refuses it when the reply comes. ENOENT: there is none. */
  evict: op(0x0207, 'meta.evict', wire.EvictRequest, wire.Empty),
  /** What clients hold, for an administrator; in the order of sessions and objects. */
  leases: op(0x0208, 'meta.leases', wire.HoldingsRequest, wire.LeasesReply),
  locks: op(0x0209, 'meta.locks', wire.HoldingsRequest, wire.LocksReply),
  /** For an administrator: what has happened of late. Waits for it, if that was asked for. */
  events: op(0x020a, 'meta.events', wire.EventsRequest, wire.EventsReply, {since: 'events'}),
  /** For an administrator: see cluster/control.ts. */
  replace: op(0x0240, 'meta.replace', wire.ReplaceRequest, wire.Empty),
  groupCreate: op(0x0241, 'meta.group-create', wire.GroupCreateRequest, wire.GroupReply),
  groupRemove: op(0x0242, 'meta.group-remove', wire.GroupRemoveRequest, wire.Empty),
  drain: op(0x0243, 'meta.drain', wire.DrainRequest, wire.Empty),
  recovery: op(0x0248, 'meta.recovery', wire.RecoveryRequest, wire.Empty),
  /** From a data server without a slot. StaleEpoch: not now, ask again. */
  copied: op(0x0244, 'meta.copied', wire.CopiedRequest, wire.Empty),
  /** The session ends in order; its leases have been yielded. */
  goodbye: op(0x0206, 'meta.goodbye', wire.Empty, wire.Empty),

  /** From a data server, of a client that has come to it. */
  allow: op(0x0290, 'meta.allow', wire.AllowRequest, wire.AllowReply, {since: 'limits'}),

  tokenCreate: op(0x0291, 'meta.token-create', wire.TokenRequest, wire.TokenInfo, deeds),
  tokens: op(0x0292, 'meta.tokens', wire.Empty, wire.TokensReply, deeds),
  tokenRevoke: op(0x0293, 'meta.token-revoke', wire.TokenRevokeRequest, wire.Empty, deeds),
  join: op(0x0294, 'meta.join', wire.JoinRequest, wire.JoinReply, deeds),
  /** For an administrator. Waits for one, if that was asked for. */
  deeds: op(0x0295, 'meta.deeds', wire.DeedsRequest, wire.DeedsReply, deeds),

  lookup: op(0x0210, 'meta.lookup', wire.LookupRequest, wire.EntryReply),
  getattr: op(0x0211, 'meta.getattr', wire.OidRequest, wire.AttrReply),
  setattr: op(0x0212, 'meta.setattr', wire.SetattrRequest, wire.AttrReply, change),
  flush: op(0x0213, 'meta.flush', wire.FlushRequest, wire.FlushReply, {
    ...change,
    payload: 'request',
  }),
  create: op(0x0214, 'meta.create', wire.CreateRequest, wire.OpenReply, change),
  mkdir: op(0x0215, 'meta.mkdir', wire.CreateRequest, wire.EntryReply, change),
  symlink: op(0x0216, 'meta.symlink', wire.CreateRequest, wire.EntryReply, change),
  mknod: op(0x0217, 'meta.mknod', wire.CreateRequest, wire.EntryReply, change),
  readlink: op(0x0218, 'meta.readlink', wire.OidRequest, wire.ReadlinkReply),
  link: op(0x0219, 'meta.link', wire.LinkRequest, wire.EntryReply, change),
  unlink: op(0x021a, 'meta.unlink', wire.UnlinkRequest, wire.UnlinkReply, change),
  rename: op(0x021b, 'meta.rename', wire.RenameRequest, wire.RenameReply, change),
  readdir: op(0x021c, 'meta.readdir', wire.ReaddirRequest, wire.ReaddirReply),
  readdirMany: op(0x0229, 'meta.readdir-many', wire.ReaddirManyRequest, wire.ReaddirManyReply),
  open: op(0x021d, 'meta.open', wire.OpenRequest, wire.OpenReply, {...change, payload: 'reply'}),
  release: op(0x021e, 'meta.release', wire.ReleaseRequest, wire.Empty),
  statfs: op(0x021f, 'meta.statfs', wire.Empty, wire.StatfsReply),
  getxattr: op(0x0220, 'meta.getxattr', wire.XattrRequest, wire.XattrReply),
  setxattr: op(0x0221, 'meta.setxattr', wire.XattrRequest, wire.Empty, change),
  listxattr: op(0x0222, 'meta.listxattr', wire.OidRequest, wire.XattrListReply),
  removexattr: op(0x0223, 'meta.removexattr', wire.XattrRequest, wire.Empty, change),
  layoutGet: op(0x0224, 'meta.layout-get', wire.OidRequest, wire.LayoutReply),
  layoutSet: op(0x0225, 'meta.layout-set', wire.LayoutSetRequest, wire.Empty, change),
  /** EINVAL: the layout cannot be; EAGAIN: the object is not held, or the attempt has ended. */
  relocate: op(0x0260, 'meta.relocate', wire.RelocateRequest, wire.RelocateReply, change),
  /** For an administrator: what is to be moved (docs, "Relocation"). ENOENT, EINVAL, EBUSY: it cannot be. */
  moves: op(0x0261, 'meta.moves', wire.MovesRequest, wire.MovesReply),
  moveNext: op(0x0262, 'meta.move-next', wire.MoveNextRequest, wire.MoveNextReply),
  /** Ids and groups for what a client is going to make under its leases. What it does not use is lost. */
  reserve: op(0x0228, 'meta.reserve', wire.ReserveRequest, wire.ReserveReply),
  readInline: op(0x0227, 'meta.read-inline', wire.OidRequest, wire.InlineReply, {
    payload: 'reply',
  }),
  /** Resolves when everything that was answered before is on stable storage at the meta server. */
  syncMeta: op(0x0226, 'meta.sync', wire.Empty, wire.Empty),

  lease: op(0x0230, 'meta.lease', wire.LeaseRequest, wire.LeaseReply, {payload: 'reply'}),
  leaseMany: op(0x0233, 'meta.lease-many', wire.LeaseManyRequest, wire.LeaseManyReply, {
    payload: 'reply',
  }),
  yieldLease: op(0x0231, 'meta.yield', wire.YieldRequest, wire.Empty, change),
  reclaim: op(0x0232, 'meta.reclaim', wire.ReclaimRequest, wire.ReclaimReply),

  lock: op(0x0238, 'meta.lock', wire.LockRequest, wire.LockReply),
  lockCancel: op(0x0239, 'meta.lock-cancel', wire.LockCancelRequest, wire.Empty),
  lockReturn: op(0x023a, 'meta.lock-return', wire.LocksRequest, wire.Empty),
  /** Before a reclaim, which makes it true. */
  lockReclaim: op(0x023b, 'meta.lock-reclaim', wire.LocksRequest, wire.Empty),

  /** An administrator changes how data servers scrub, or begins a pass; without a change it only asks. */
  scrub: op(0x0250, 'meta.scrub', wire.ScrubRequest, wire.ScrubReply),
  /** For an administrator: what is in the namespace, page after page, each of one moment; and what is to be mended in it. */
  inodes: op(0x0258, 'meta.inodes', wire.InodesRequest, wire.InodesReply),
  names: op(0x0259, 'meta.names', wire.NamesRequest, wire.NamesReply),
  /** The agent of a data server has made a read copy under the lease that it holds. ESTALE: nobody wants it any more. */
  readCopyMade: op(0x0280, 'meta.read-copy-made', wire.ReadCopyMadeRequest, wire.Empty),
  /** For an administrator: when chunks get read copies, and where there are some. */
  readCopies: op(0x0281, 'meta.read-copies', wire.ReadCopiesRequest, wire.ReadCopiesReply),
  mend: op(0x025a, 'meta.mend', wire.MendRequest, wire.Empty, change),

  write: op(0x0301, 'data.write', wire.WriteRequest, wire.WriteReply, {payload: 'request'}),
  read: op(0x0302, 'data.read', wire.ReadRequest, wire.ReadReply, {payload: 'reply'}),
  sync: op(0x0303, 'data.sync', wire.SyncRequest, wire.Empty),
  settle: op(0x0304, 'data.settle', wire.SettleRequest, wire.Empty),
  truncate: op(0x0305, 'data.truncate', wire.TruncateRequest, wire.Empty),
  punch: op(0x0306, 'data.punch', wire.PunchRequest, wire.Empty),
  remove: op(0x0307, 'data.remove', wire.RemoveRequest, wire.Empty),
  stat: op(0x0308, 'data.stat', wire.StatRequest, wire.StatReply),
  list: op(0x0309, 'data.list', wire.ListRequest, wire.ListReply),
  missedClear: op(0x030a, 'data.missed-clear', wire.MissedClearRequest, wire.Empty),
  badBlock: op(0x030b, 'data.bad-block', wire.BadBlockRequest, wire.Empty),
  doubt: op(0x030c, 'data.doubt', wire.DoubtRequest, wire.Empty),
  exportColumn: op(0x0318, 'data.export', wire.ExportRequest, wire.ExportReply, {
    payload: 'reply',
  }),
  changed: op(0x0319, 'data.changed', wire.ChangedRequest, wire.ChangedReply),
  watch: op(0x0320, 'data.watch', wire.WatchRequest, wire.WatchReply),
  removeColumn: op(0x0314, 'data.remove-column', wire.RemoveColumnRequest, wire.Empty),
  delta: op(0x030d, 'data.delta', wire.DeltaRequest, wire.DeltaReply, {payload: 'request'}),
  /** Backtraces: what the meta server leaves with data servers, and what a rebuild asks them for. */
  backtrace: op(0x0330, 'data.backtrace', wire.BacktraceRequest, wire.BacktraceReply, backtraces),
  backtraceMarks: op(
    0x0331,
    'data.backtrace-marks',
    wire.Empty,
    wire.BacktraceMarksReply,
    backtraces,
  ),
  backtraceRead: op(
    0x0332,
    'data.backtrace-read',
    wire.BacktraceReadRequest,
    wire.BacktraceReadReply,
    backtraces,
  ),
  info: op(0x0333, 'data.info', wire.Empty, wire.DataInfoReply, backtraces),
  sums: op(0x0310, 'data.sums', wire.SumsRequest, wire.SumsReply),

  /** meta -> data server (which answers when it obeys) and meta -> client (no matter when it answers). */
  mapPush: op(0x0401, 'push.map', wire.MapPush, wire.MapAck),
  recall: op(0x0402, 'push.recall', wire.RecallPush, wire.Empty),
  reportAttr: op(0x0403, 'push.report-attr', wire.ReportAttrPush, wire.ReportAttrReply),
  readCopiesPush: op(0x0405, 'push.read-copies', wire.ReadCopiesPush, wire.Empty),
  /** A standby asks for the log of the active meta server, from where its own ends. */
  follow: op(0x02a0, 'meta.follow', wire.FollowRequest, wire.FollowReply, standbys),
  /** A meta server tells of itself, whatever its role. */
  nodeStatus: op(0x02a1, 'meta.node-status', wire.Empty, wire.NodeStatusReply, standbys),
  /** To a standby: be the active one, whatever is lost. */
  promote: op(0x02a2, 'meta.promote', wire.Empty, wire.PromoteReply, standbys),
  /** For an administrator: which releases there are, and what is switched on. EBUSY: not all have what is to be. */
  upgrade: op(0x02c0, 'meta.upgrade', wire.UpgradeRequest, wire.UpgradeReply, {since: 'upgrades'}),
  /** For an administrator: the cluster closes, opens; servers are away by intent. ENOENT: no such server. */
  life: op(0x02c1, 'meta.life', wire.LifeRequest, wire.LifeReply, {since: 'life'}),
  /** For an administrator, of any server: what it logs, and which requests wait. EINVAL: no such levels. */
  steer: op(0x0103, 'steer', wire.SteerRequest, wire.SteerReply, {since: 'steering'}),
  /** For an administrator: a backup of the state. EBUSY: others are being made. Its pieces come in their order; ESTALE: it is given up. */
  backup: op(0x02b0, 'meta.backup', wire.BackupRequest, wire.BackupReply, backups),
  backupRead: op(0x02b1, 'meta.backup-read', wire.BackupReadRequest, wire.BackupReadReply, {
    ...backups,
    payload: 'reply',
  }),
  /** To a standby: more of the log, as it is in the files, the last record maybe in part; and the whole state, if it has no use for that. */
  append: op(0x0410, 'standby.append', wire.AppendRequest, wire.AppendReply, {
    ...standbys,
    payload: 'request',
  }),
  snapshot: op(0x0411, 'standby.snapshot', wire.SnapshotRequest, wire.Empty, {
    ...standbys,
    payload: 'request',
  }),
  lockRecall: op(0x0404, 'push.lock-recall', wire.LockRecallPush, wire.LockRecallReply),
} as const;

export type AnyOp = Op<unknown, unknown>;

export const opByCode: ReadonlyMap<number, AnyOp> = new Map(
  Object.values(OPS).map((row) => [row.code, row as unknown as AnyOp]),
);

/** SetattrRequest.mask. */
export const SET = {
  mode: 1,
  uid: 2,
  gid: 4,
  size: 8,
  atime: 16,
  mtime: 32,
  ctime: 64,
  atimeNow: 128,
  mtimeNow: 256,
  killSuidgid: 512,
} as const;

/** LeaseMode. A higher mode includes the lower ones. */
export const LEASE = {none: 0, read: 1, write: 2} as const;
export type LeaseMode = (typeof LEASE)[keyof typeof LEASE];

/** Versions that this release speaks: from the oldest to this one. Between two that differ features are asked for, not versions. */
export const PROTOCOL_OLDEST = 1;
export const PROTOCOL_VERSION = 1;

/** Replies that the meta server keeps of one session, each at the place (request id mod REPLY_RING). */
export const REPLY_RING = 256;
