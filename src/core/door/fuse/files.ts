import {ERRNO} from '../../base/errno.js';
import {errnoOf, FsError, messageOf} from '../../base/errors.js';
import type {Segment} from '../../base/pool.js';
import {O_ACCMODE, O_APPEND, O_EXCL, O_TRUNC} from '../open-flags.js';
import {
  CREATE_IN,
  FOPEN,
  FSYNC_IN,
  OPEN_IN,
  OPEN_KILL_SUIDGID,
  READ_FLAG,
  READ_IN,
  RELEASE_IN,
  WRITE_FLAG,
  WRITE_IN,
} from './abi.js';
import type {DoorContext, HandlerTable} from './door.js';
import {unlockHandle, unlockProcess} from './locks.js';
import {carriedOut, changed, keepEntry} from './names.js';
import type {PageIo, Settled} from './recall.js';
import type {RequestId} from './replies.js';

/** Number of an open file: odd if it may write. Reads through such a one need the lease for writing (FUSE.md 10.4). */
const mayWrite = (fh: number): boolean => fh % 2 === 1;
/**
 * Pages of handles that only read stay over opens: a recall drops them before anybody else may write. Handles that may write bypass the page
 * cache (recall.ts says why); mappings of them still use it. So do handles of files that others are using: their pages would not stay.
 */
const BYPASS = FOPEN.DIRECT_IO + FOPEN.PARALLEL_DIRECT_WRITES;
function openFlags(door: DoorContext, oid: number, write: boolean): number {
  const pages = write || !door.pages || door.gate.shared(oid) ? BYPASS : FOPEN.KEEP_CACHE;
  // A close of what was only read has nothing to say but that its program's locks are gone.
  return write || door.locks ? pages : pages + FOPEN.NOFLUSH;
}
/** Bytes before a WRITE's payload in its slot: one control page. */
const PAYLOAD_OFFSET = 4096;

/** Of an FSYNC: fdatasync(2). */
const FSYNC_DATA = 1;

/** Opening, reading, writing regular files. */
export const fileHandlers: HandlerTable = {
  async CREATE(door, r) {
    if (door.readOnly) throw new FsError('EROFS');
    const {id, nodeid, pid, caller, arrived} = r;
    const begun = door.kernel.races.moment;
    const flags = r.arg(CREATE_IN.flags);
    const mode = r.arg(CREATE_IN.mode);
    const name = r.name(r.tail(CREATE_IN.words));
    const made = door.client.create(nodeid, name, mode & 0o7777, caller, {
      exclusive: (flags & O_EXCL) !== 0,
      truncate: (flags & O_TRUNC) !== 0,
    });
    const {attr} = await carriedOut(door, [nodeid], made);
    const write = (flags & O_ACCMODE) !== 0;
    const racing = changed(door, {id, pid}, nodeid);
    if (racing !== null) await racing;
    const valid = keepEntry(door, attr, {parent: nodeid, name, pid, begun, arrived});
    const how = openFlags(door, attr.oid, write);
    door.replies.create(id, attr, door.owners.handle(write), how, valid);
  },

  async OPEN(door, r) {
    const {id, nodeid, pid} = r;
    const flags = r.arg(OPEN_IN.flags);
    const write = (flags & O_ACCMODE) !== 0;
    const truncate = (flags & O_TRUNC) !== 0;
    if (door.readOnly && (write || truncate)) throw new FsError('EROFS');
    const killSuidgid = (r.arg(OPEN_IN.openFlags) & OPEN_KILL_SUIDGID) !== 0;
    const answered = truncate ? door.sizes.cutting(nodeid, pid) : null;
    try {
      await door.client.open(nodeid, {write, truncate, killSuidgid});
    } finally {
      answered?.();
    }
    if (killSuidgid) await door.kernel.killed(nodeid);
    // What was believed until now is from before.
    if (door.looseMs > 0 && door.client.attrValid(nodeid).ms === 0)
      await door.kernel.outdated(nodeid);
    door.replies.open(id, door.owners.handle(write), openFlags(door, nodeid, write));
  },

  async RELEASE(door, r) {
    const {id, nodeid} = r;
    const unlocked = unlockHandle(door, nodeid, r.arg64(RELEASE_IN.fh));
    door.client.release(nodeid);
    if (unlocked !== null) await unlocked;
    door.replies.error(id, 0);
  },

  READ(door, r) {
    const {id, nodeid: oid, pid} = r;
    const offset = r.arg64(READ_IN.offset);
    const length = r.arg(READ_IN.size);
    const fh = r.arg64(READ_IN.fh);
    door.owners.check(fh);
    const needs = mayWrite(fh) ? 2 : 1;
    const wanted = offset + length;
    const direct = (r.arg(READ_IN.readFlags) & READ_FLAG.LOCKOWNER) !== 0;
    // Who reads directly is told how much there was.
    const cached = direct ? null : door.sizes.begin(oid, pid);
    let segments: Segment[] = [];
    let settle = (_how: Settled): void => {};
    /** For writing, where the handle may; until that does not pay any more. */
    const waiting = async (): Promise<Segment[]> => {
      for (let exclusive = needs === 2; ; exclusive = false) {
        const settled = new Promise<Settled>((resolve) => {
          settle = resolve;
        });
        const whole = door.client.read(oid, offset, length, {exclusive, direct});
        const won = await Promise.race([whole, settled]);
        if (typeof won !== 'string') return won;
        // Nobody waits for the other one any more.
        void whole.then((late) => release(door, late)).catch(() => {});
        if (won === 'refused') throw new FsError('EIO', 'pages of it were wanted back');
      }
    };
    door.gate.enter(
      pageIo(door, id, {
        oid,
        offset,
        length,
        needs,
        kind: direct ? 'direct-read' : 'page-read',
        urgent: false,
        again: cached?.again === true,
        settle: (how) => settle(how),
        work: async (shared) => {
          // It may be the second time.
          release(door, segments);
          segments = [];
          const held = shared || door.client.held(oid, {from: offset, to: wanted}) >= needs;
          segments = await (held
            ? door.client.read(oid, offset, length, {exclusive: needs === 2 && !shared, direct})
            : waiting());
          if (cached !== null) await door.sizes.passed(oid, offset + bytesOf(segments), wanted);
        },
        answer: () => {
          const end = offset + bytesOf(segments);
          if (cached !== null && !door.sizes.end(cached, end, wanted)) {
            release(door, segments);
            door.replies.error(id, ERRNO.EIO);
          } else if (segments.length === 0) door.replies.error(id, 0);
          else door.replies.data(id, segments);
        },
        failed: () => {
          if (cached !== null) door.sizes.end(cached, wanted, wanted);
        },
      }),
    );
  },

  WRITE(door, r) {
    if (door.readOnly) throw new FsError('EROFS');
    const {id, nodeid: oid, slot, pid} = r;
    door.owners.check(r.arg64(WRITE_IN.fh));
    const offset = r.arg64(WRITE_IN.offset);
    const length = r.arg(WRITE_IN.size);
    const flags = r.arg(WRITE_IN.writeFlags);
    const urgent = (flags & WRITE_FLAG.CACHE) !== 0;
    const append = !urgent && (r.arg(WRITE_IN.flags) & O_APPEND) !== 0;
    const killSuidgid = (flags & WRITE_FLAG.KILL_SUIDGID) !== 0;
    r.kept = true;
    const segment = {slot, offset: r.control + PAYLOAD_OFFSET, length};
    let misplaced = false;
    door.gate.enter(
      pageIo(door, id, {
        oid,
        offset,
        length,
        append,
        needs: 2,
        kind: 'write',
        urgent,
        settle: () => {},
        work: async () => {
          const at = await door.client.write(oid, offset, [segment], {append, killSuidgid});
          misplaced = at !== offset;
          if (killSuidgid) await door.kernel.killed(oid);
        },
        answer: () => {
          const told = () => {
            door.sizes.wrote(oid, pid, offset + length);
            door.replies.size(id, length);
            // The kernel put the bytes of an append where it believed the end to be: another client had moved it.
            if (misplaced) door.gate.drop(oid);
          };
          const reading = door.sizes.doubtful(oid) ? door.sizes.readAgain(oid) : null;
          if (reading === null) told();
          else void reading.then(told);
        },
      }),
    );
  },

  async FLUSH(door, r) {
    const {id, nodeid} = r;
    const unlocked = unlockProcess(door, r);
    if (unlocked !== null) await unlocked;
    await door.client.flush(nodeid);
    door.replies.error(id, 0);
  },

  async FSYNC(door, r) {
    const {id, nodeid} = r;
    door.owners.check(r.arg64(FSYNC_IN.fh));
    await door.client.fsync(nodeid, (r.arg(FSYNC_IN.flags) & FSYNC_DATA) !== 0);
    door.replies.error(id, 0);
  },

  async SYNCFS(door, r) {
    const {id} = r;
    await door.client.syncAll();
    door.replies.error(id, 0);
  },
};

const bytesOf = (segments: readonly Segment[]): number =>
  segments.reduce((sum, segment) => sum + segment.length, 0);

function release(door: DoorContext, segments: readonly Segment[]): void {
  for (const {slot} of segments) door.pool.release(slot);
}

interface Work extends Omit<PageIo, 'run' | 'reply'> {
  work(shared: boolean): Promise<void>;
  answer(): void;
  failed?(): void;
}

/** A page request whose failure is its answer. */
function pageIo(door: DoorContext, id: RequestId, {work, answer, failed, ...io}: Work): PageIo {
  let failure: unknown = null;
  return {
    ...io,
    run: (shared) =>
      work(shared).catch((error: unknown) => {
        failure = error ?? new Error('no reason given');
      }),
    reply: () => {
      if (failure === null) return answer();
      failed?.();
      if (!(failure instanceof FsError)) {
        door.log.error('fuse.io_failed', {oid: io.oid, kind: io.kind, error: messageOf(failure)});
      }
      door.replies.error(id, errnoOf(failure));
    },
  };
}
