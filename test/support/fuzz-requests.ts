import type {Env} from '../../src/core/env/env.js';
import type {Connection} from '../../src/core/env/net.js';
import {FLAG} from '../../src/core/protocol/frame.js';
import {type AnyOp, OPS, PROTOCOL_VERSION} from '../../src/core/protocol/ops.js';
import {pattern, segmentOf} from './frames.js';
import {mutateMessage} from './mutate-message.js';

type Below = (bound: number) => number;

/** A request as a program of ours would send it. */
export interface Sample {
  op: AnyOp;
  request: object;
  /** Bytes of payload. */
  payload?: number;
}

const same = {generation: 0, chunk: 0, column: 0, k: 4, m: 1, unitBytes: 65_536, repair: false};
const time = {sec: 1_700_000_000, nsec: 5};
const caller = {uid: 1000, gid: 1000};
const lock = {
  type: 2,
  startHigh: 0,
  startLow: 0,
  endHigh: 0,
  endLow: 100,
  owner: 1,
  pid: 7,
  whole: false,
  session: 0,
};
const layout = {k: 2, m: 1, unitBytes: 65_536, chunkBytes: 1 << 24, groups: [1], generation: 0};

const of = (op: unknown, request: object, payload?: number): Sample =>
  payload === undefined ? {op: op as AnyOp, request} : {op: op as AnyOp, request, payload};

/** What a client asks the meta server, about a directory and a file that are its own. */
export function metaSamples(directory: number, file: number): Sample[] {
  const name = Buffer.from('name');
  const made = {parent: directory, name, mode: 0o100644, caller, open: true, exclusive: true};
  const item = {oid: file, size: 4096, mtime: time, hasSize: true, hasMtime: true, blocks: 8};
  const change = (op: AnyOp, request: object, oid = 0): object => ({
    code: op.code,
    request: op.request.encode(request),
    oid,
    groups: [1],
    now: time,
  });
  const range = {from: 0, to: 65_536};
  return [
    of(OPS.heartbeat, {epoch: 1, counters: {reads: 1}, hot: [{oid: file, chunk: 0, weight: 7}]}),
    of(OPS.getMap, {}),
    of(OPS.report, {group: 9, slot: 9, epoch: 0, reason: 'why', waitedMs: 5}),
    of(OPS.exists, {oids: [file, file + 1]}),
    of(OPS.lookup, {parent: directory, name}),
    of(OPS.getattr, {oid: file}),
    of(OPS.setattr, {
      oid: file,
      mask: 0x3ff,
      mode: 0o644,
      uid: 1,
      gid: 1,
      size: 100,
      atime: time,
      mtime: time,
      ctime: time,
    }),
    of(OPS.flush, {items: [item], changes: [], durable: false}),
    of(OPS.flush, {items: [{...item, hasInline: true, inlineBytes: 512}]}, 512),
    of(OPS.flush, {
      items: [],
      changes: [
        change(OPS.create as unknown as AnyOp, made, 900),
        change(OPS.unlink as unknown as AnyOp, {parent: directory, name}),
      ],
    }),
    of(OPS.flush, {
      changes: [
        change(OPS.create as unknown as AnyOp, {...made, caller: undefined}, 901),
        change(OPS.setattr as unknown as AnyOp, {oid: file, mask: 1, mode: 0o600}),
      ],
    }),
    of(OPS.flush, {
      changes: [
        change(OPS.rename as unknown as AnyOp, {
          parent: directory,
          name,
          newParent: directory,
          newName: Buffer.from('other'),
        }),
      ],
    }),
    of(OPS.create, made),
    of(OPS.mkdir, {...made, mode: 0o40755}),
    of(OPS.symlink, {...made, mode: 0o120777, target: Buffer.from('../x')}),
    of(OPS.mknod, {...made, mode: 0o20644, rdev: 259}),
    of(OPS.readlink, {oid: file}),
    of(OPS.link, {oid: file, parent: directory, name}),
    of(OPS.unlink, {parent: directory, name, directory: false, idle: true, oid: file}),
    of(OPS.rename, {
      parent: directory,
      name,
      newParent: directory,
      newName: Buffer.from('other'),
      flags: 1,
    }),
    of(OPS.readdir, {oid: directory, cookie: 0, maxEntries: 100, attributes: true}),
    of(OPS.readdirMany, {oids: [directory], max: 10, write: true}),
    of(OPS.open, {oid: file, write: true, truncate: false, inline: true}),
    of(OPS.release, {oids: [file]}),
    of(OPS.statfs, {}),
    of(OPS.getxattr, {oid: file, name: Buffer.from('user.a')}),
    of(OPS.setxattr, {oid: file, name: Buffer.from('user.a'), value: Buffer.alloc(100), flags: 1}),
    of(OPS.listxattr, {oid: file}),
    of(OPS.removexattr, {oid: file, name: Buffer.from('user.a')}),
    of(OPS.layoutGet, {oid: directory}),
    of(OPS.layoutSet, {
      oid: directory,
      k: 2,
      m: 1,
      unitBytes: 65_536,
      chunkBytes: 1 << 24,
      groupCount: 1,
    }),
    of(OPS.relocate, {oid: file, layout, begin: true, groupCount: 1}),
    of(OPS.reserve, {count: 10}),
    of(OPS.readInline, {oid: file}),
    of(OPS.syncMeta, {}),
    of(OPS.lease, {oid: file, mode: 2, inline: true, range, ahead: [{from: 65_536, to: 131_072}]}),
    of(OPS.lease, {oid: directory, mode: 2, directory: true}),
    of(OPS.leaseMany, {oids: [file]}),
    of(OPS.yieldLease, {
      oid: file,
      keep: 0,
      attr: item,
      more: [directory],
      keeps: [0],
      gone: [range],
    }),
    of(OPS.reclaim, {
      oids: [file],
      modes: [2],
      opens: [1],
      yielding: [false],
      ranges: [{oid: file, ranges: [range]}],
    }),
    of(OPS.reclaim, {}),
    of(OPS.lock, {oid: file, lock, manner: 0, name: 5}),
    of(OPS.lockCancel, {name: 5}),
    of(OPS.lockReturn, {objects: [{oid: file, delegation: 1, locks: [lock]}]}),
    of(OPS.lockReclaim, {objects: [{oid: file, delegation: 0, locks: [lock]}]}),
    of(OPS.moveNext, {results: [{task: 1, oid: file, moved: true, bytes: 7, reason: 'no'}]}),
    of(OPS.readCopyMade, {id: 1, oid: file}),
    // Those of others: the connection ends.
    of(OPS.evict, {session: 2}),
    of(OPS.hello, {versionMin: 1, versionMax: 1, role: 'client', session: 0}),
  ];
}

/** What a client asks a data server, about chunks of an object that is its own. */
export function dataSamples(oid: number, epoch: number): Sample[] {
  const ref = {...same, oid, epoch};
  const ranges = [
    {offset: 0, length: 4096},
    {offset: 8192, length: 4096},
  ];
  const sums = new Uint8Array(8);
  const chunks = [{oid, chunk: 0, generation: 0}];
  return [
    of(OPS.write, {ref, ranges, sums, covered: new Uint8Array(0), sync: true}, 8192),
    of(OPS.write, {ref, ranges, sums, lost: true}, 8192),
    of(
      OPS.write,
      {ref: {...ref, column: 4}, ranges, sums, covered: new Uint8Array(32), lost: true},
      8192,
    ),
    of(
      OPS.delta,
      {
        ref: {...ref, column: 4},
        ranges,
        sums,
        changed: Buffer.from([1, 0, 0, 0, 1, 0, 0, 0]),
        before: sums,
        after: sums,
      },
      8192,
    ),
    of(OPS.read, {ref, ranges, covered: true, verify: true, copy: 0}),
    of(OPS.sync, {epoch, chunks, all: false}),
    of(OPS.sync, {epoch, all: true}),
    of(OPS.settle, {epoch, chunks, checked: true}),
    of(OPS.truncate, {ref, bytes: 4096}),
    of(OPS.punch, {ref, ranges}),
    of(OPS.stat, {ref}),
    of(OPS.sums, {items: [{ref, offset: 0, blocks: 2}]}),
    of(OPS.list, {cursor: '', max: 100, kind: 'columns', slot: 0, oid: 0}),
    of(OPS.list, {kind: 'intents'}),
    of(OPS.list, {kind: 'missed', slot: 1}),
    of(OPS.missedClear, {slot: 1, chunks, epoch}),
    of(OPS.remove, {epoch, oids: [oid], parts: [{oid, generation: 0, from: 0, to: 1}]}),
    of(OPS.removeColumn, {epoch, column: chunks[0]}),
    of(OPS.badBlock, {ref, ranges}),
    of(OPS.doubt, {ref}),
    of(OPS.watch, {
      oid,
      generation: 0,
      watch: 1,
      pass: 1,
      pieceBytes: 65_536,
      piecesPerChunk: 64,
      epoch,
    }),
    of(OPS.heartbeat, {}),
    of(OPS.hello, {versionMin: 1, versionMax: 1, role: 'client', session: 7}),
  ];
}

/** What an administrator asks the meta server; nothing that is meant to harm. */
export function adminSamples(directory: number, file: number): Sample[] {
  const task = {id: 0, kind: 0, root: file, k: 2, m: 1, groupCount: 1, group: 1, tolerance: 5};
  return [
    of(OPS.status, {}),
    of(OPS.getMap, {}),
    of(OPS.heartbeat, {}),
    of(OPS.events, {boot: 1, after: 0, max: 10, waitMs: 0}),
    of(OPS.deeds, {after: 0, max: 10, waitMs: 0}),
    of(OPS.leases, {session: 0, oid: 0, max: 10, skip: 0}),
    of(OPS.locks, {session: 0, oid: file, max: 10, skip: 0}),
    of(OPS.evict, {session: 2 ** 40}),
    of(OPS.replace, {group: 9, slot: 0, server: 'x', sure: false}),
    of(OPS.drain, {group: 9, slot: 0, server: 'x', stop: true}),
    of(OPS.groupCreate, {id: 77, slots: 3}),
    of(OPS.groupRemove, {id: 77}),
    of(OPS.recovery, {paused: 1, rate: 1 << 20}),
    of(OPS.scrub, {start: true, deep: true, settings: {paused: 1, rate: 5, interval: 7}}),
    of(OPS.moves, {add: task, stop: 7, paused: 1, rate: 1 << 20, plan: true}),
    of(OPS.inodes, {after: 0, max: 10, oids: [file, directory]}),
    of(OPS.names, {cursor: Buffer.from('d'), max: 10}),
    of(OPS.mend, {oid: file, version: 1, links: 1, parent: directory, name: Buffer.from('x')}),
    of(OPS.readCopies, {policy: {most: 1, weight: 5, share: 50, coldS: 9, afterS: 5}, oid: file}),
    of(OPS.layoutGet, {oid: directory}),
    of(OPS.layoutSet, {oid: directory, k: 2, m: 1, unitBytes: 65_536, chunkBytes: 1 << 24}),
    of(OPS.upgrade, {finalize: false}),
    of(OPS.backup, {sequence: 0, sum: 5, release: 'x'}),
    of(OPS.backupRead, {id: 1, piece: 0}),
    of(OPS.tokens, {}),
    of(OPS.tokenCreate, {role: 'client', until: 9, uses: 1, name: 'x', rights: 'rw', path: '/x'}),
    of(OPS.tokenRevoke, {id: '0123456789ab'}),
    of(OPS.syncMeta, {}),
  ];
}

/** What an administrator asks any server about itself, and a data server. */
export const nodeSamples = (oid: number): Sample[] => [
  of(OPS.steer, {levels: 'info,net=debug', forMs: 5, waiting: true}),
  of(OPS.nodeStatus, {}),
  of(OPS.promote, {}),
  of(OPS.info, {}),
  of(OPS.list, {kind: 'columns', cursor: '', max: 10}),
  of(OPS.exportColumn, {chunk: {oid, chunk: 0, generation: 0}, offset: 0, length: 4096}),
  of(OPS.backtraceMarks, {}),
  of(OPS.backtraceRead, {shard: 3, cursor: Buffer.from('d')}),
];

export interface RequestFuzz {
  env: Pick<Env, 'net' | 'pool' | 'clock'>;
  address: string;
  /** Of hello; what a reply says goes to `met`. */
  hello: object;
  samples: readonly Sample[];
  below: Below;
  requests: number;
  /** So long an answer is waited for. */
  waitMs?: number;
}

export interface RequestFuzzed {
  sent: number;
  connections: number;
  answered: number;
  /** Replies that were no error. */
  done: number;
}

const WAIT_MS = 3_000;

/** Sends requests whose fields are not what they should be over connections that have every right to send requests. */
export async function fuzzRequests(f: RequestFuzz): Promise<RequestFuzzed> {
  const result: RequestFuzzed = {sent: 0, connections: 0, answered: 0, done: 0};
  while (result.sent < f.requests) {
    const one = await Attacker.dial(f, result);
    result.connections++;
    while (!one.closed && result.sent < f.requests) await one.burst(f.below(4) === 0 ? 16 : 2);
    one.connection.close('enough');
  }
  return result;
}

class Attacker {
  closed = false;
  readonly #f: RequestFuzz;
  readonly #result: RequestFuzzed;
  #greeted = false;
  #open = 0;
  #id = 0;
  #wake = (): void => {};

  private constructor(
    f: RequestFuzz,
    result: RequestFuzzed,
    readonly connection: Connection,
  ) {
    this.#f = f;
    this.#result = result;
    connection.handle({
      frame: ({flags, status, payload, id}) => {
        if (payload !== null) f.env.pool.release(payload.slot);
        if ((flags & FLAG.reply) === 0) return; // A push; nobody answers, as a program that hangs.
        result.answered++;
        if (status === 0) result.done++;
        if (id === 1) this.#greeted = true;
        if (id >= 2) this.#open--;
        this.#wake();
      },
      closed: () => {
        this.closed = true;
        this.#wake();
      },
      drained: () => {},
    });
  }

  static async dial(f: RequestFuzz, result: RequestFuzzed): Promise<Attacker> {
    const one = new Attacker(f, result, await f.env.net.connect(f.address, 5_000));
    const versions = {versionMin: PROTOCOL_VERSION, versionMax: PROTOCOL_VERSION};
    one.#send(
      OPS.hello as unknown as AnyOp,
      OPS.hello.request.encode({...versions, release: '0', ...f.hello}),
      0,
      1,
    );
    await one.#until(() => one.#greeted);
    return one;
  }

  async burst(count: number): Promise<void> {
    const {below, samples} = this.#f;
    for (let i = 0; i < count && !this.closed; i++) this.#one(samples[below(samples.length)]!);
    await this.#until(() => this.#open <= 0);
    // What waits for something that never comes is left.
    this.#open = 0;
  }

  #one({op, request, payload = 0}: Sample): void {
    const {below} = this.#f;
    let message: Uint8Array;
    try {
      const mutated = below(8) === 0 ? request : mutateMessage(request, below);
      message = op.request.encode(mutated as never);
    } catch {
      return; // Not even a protobuf.
    }
    if (message.length > 200_000) return;
    if (below(6) === 0 && message.length > 0) {
      message = Uint8Array.from(message);
      for (let flips = 1 + below(4); flips > 0; flips--)
        message[below(message.length)]! ^= 1 << below(8);
    }
    const kept = op.mutates ? below(3) : 2;
    const id =
      kept === 0 ? 2 + below(400) : kept === 1 ? 2 ** 31 - 1 - below(10) : 2 ** 31 + this.#id++;
    const bytes = payload === 0 ? 0 : below(4) === 0 ? below(2 * payload) : payload;
    this.#send(op, message, bytes, below(40) === 0 ? 0 : id);
    this.#result.sent++;
  }

  #send(op: AnyOp, message: Uint8Array, payload: number, id: number): void {
    const {pool} = this.#f.env;
    const segments = payload === 0 ? null : [segmentOf(pool, pattern(payload, id))];
    if (id >= 2) this.#open++;
    this.connection.send(op.code, 0, id, 0, message, segments);
  }

  #until(so: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        this.#wake = () => {};
        resolve();
      };
      const timer = this.#f.env.clock.timer(this.#f.waitMs ?? WAIT_MS, done);
      this.#wake = () => {
        if (so() || this.closed) done();
      };
      this.#wake();
    });
  }
}
