import {FsError} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {
  Balance,
  columnBytesOf,
  drained,
  MOVE,
  MOVE_RATE_MIN,
  type MoveState,
  type MoveTask,
  TASKS_MAX,
} from '../cluster/moves.js';
import {sleep} from '../env/clock.js';
import {invalidLayout} from '../layout/scheme.js';
import {type Inode, S_IFDIR, S_IFMT} from '../namespace/inode.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import * as keys from './keys.js';
import type {Parts} from './parts.js';
import {decodeInode, decodeName} from './records.js';
import type {Tx} from './tx.js';

/** Rows that are looked at at a time: some ms of the meta server's time. */
const ROWS = 1000;
const ITEMS = 16;
/** Between two looks of a plan, so that others are served. */
const REST_MS: Ms = 1;
/** After a pass in which something could not be moved. */
const AGAIN_MS: Ms = 5_000;
const IDLE_MS: Ms = 1_000;
/** So many passes in which nothing could be moved end a task that may be ended so. */
const VAIN_MAX = 5;
/** Groups that clients have drawn before they heard of a drain are used, and told, by then. */
const DRAWN_MS: Ms = 60_000;
/** Who has written to a group what was moved out of it since, and has not synced it, asks there; by then all have. */
const LEFT_MS: Ms = 30_000;
const ENDED_MAX = 16;
const REASON_MAX = 200;

/** A task while it is carried out: known to this life of the meta server alone, since all that counts is how the objects lie. */
interface Run {
  task: MoveTask;
  since: Ms;
  cursor: string;
  /** Of a rebalance: what groups have is counted first. */
  balance: Balance | null;
  counted: boolean;
  /** In this pass. */
  given: number;
  moved: number;
  vain: number;
  open: Set<number>;
  /** The end of the last pass that found something. */
  foundAt: Ms;
  /** Not before. */
  after: Ms;
  progress: wire.MoveProgress;
}

function newRun(task: MoveTask, since: Ms): Run {
  const counts = {objects: 0, bytes: 0, failed: 0, reason: '', passes: 0};
  return {
    task,
    since,
    cursor: '',
    balance: null,
    counted: false,
    given: 0,
    moved: 0,
    vain: 0,
    open: new Set(),
    foundAt: Number.NEGATIVE_INFINITY,
    after: 0,
    progress: {task, ...counts, ended: false, stopped: false},
  };
}

/** What is to be moved, and where to (docs, "Relocation"). The moving itself is done by a client session of a data server. */
export class Moves {
  readonly #parts: () => Parts;
  readonly #runs = new Map<number, Run>();
  readonly #ended: wire.MoveProgress[] = [];
  /** Of the one who carries them out. */
  #session = 0;
  /** Who is moving an object, by session, as far as this life of the meta server knows. */
  readonly #movers = new Map<number, number>();

  constructor(parts: () => Parts) {
    this.#parts = parts;
  }

  /** What an administrator asks for. EINVAL, ENOENT, EBUSY. */
  async administer(q: wire.MovesRequest): Promise<wire.MovesReply> {
    const {cluster} = this.#parts();
    const task = q.add === null ? null : this.#checked(q.add);
    if (q.plan && task === null) throw new FsError('EINVAL', 'a plan of nothing');
    if (q.plan) return {...this.#reply(), plan: await this.#plan(task!)};
    const state: MoveState = {...cluster.moves, tasks: [...cluster.moves.tasks]};
    let added = 0;
    if (q.stop > 0) {
      if (!state.tasks.some(({id}) => id === q.stop)) throw new FsError('ENOENT', `task ${q.stop}`);
      state.tasks = state.tasks.filter(({id}) => id !== q.stop);
    }
    if (q.paused > 0) state.paused = q.paused === 2;
    if (q.rate > 0) state.rate = Math.max(MOVE_RATE_MIN, q.rate);
    if (task !== null) {
      if (state.tasks.length >= TASKS_MAX) throw new FsError('EBUSY', `${TASKS_MAX} tasks wait`);
      added = ++state.last;
      state.tasks.push({...task, id: added});
    }
    if (task !== null || q.stop > 0 || q.paused > 0 || q.rate > 0) await cluster.changeMoves(state);
    if (q.stop > 0) this.#end(q.stop, true);
    return {...this.#reply(), added};
  }

  /** What has become of the last ones, and what is next. */
  async next({results}: wire.MoveNextRequest, session: number): Promise<wire.MoveNextReply> {
    const {cluster, env} = this.#parts();
    // Another one has taken over: what the one before was told is looked at again in the next pass.
    if (session !== this.#session) for (const {open} of this.#runs.values()) open.clear();
    this.#session = session;
    for (const result of results) this.#result(result);
    const {tasks, paused} = cluster.moves;
    if (paused) return {items: [], waitMs: IDLE_MS};
    const now = env.clock.now();
    for (const task of tasks) {
      const run = this.#run(task);
      if (run.after > now || run.open.size > 0) continue;
      const items = await this.#look(run);
      if (items.length > 0 || run.after <= now) return {items, waitMs: 0};
    }
    return {items: [], waitMs: IDLE_MS};
  }

  /** The session that is moving the object, while it lives: it copies while others hold the object. 0: none. */
  mover(oid: number): number {
    const session = this.#movers.get(oid) ?? 0;
    return this.#parts().sessions.get(session)?.state === 'live' ? session : 0;
  }

  /** What it has copied is found by a resync if it dies. */
  movesAny(session: number): boolean {
    return [...this.#movers.values()].includes(session);
  }

  /** `session` 0: nobody moves it any more. */
  movedBy(oid: number, session: number): void {
    for (const [one] of this.#movers) if (this.mover(one) === 0) this.#movers.delete(one);
    if (session === 0) this.#movers.delete(oid);
    else this.#movers.set(oid, session);
  }

  #checked(q: wire.MoveTask): MoveTask {
    const {machine, cluster} = this.#parts();
    const task = {...q, id: 0} as MoveTask;
    const groups = cluster.control.state.groups.map(({id}) => id);
    if (q.kind === MOVE.convert) {
      const inode = machine.audit((tx) => tx.find(q.root));
      if (inode === null) throw new FsError('ENOENT', `object ${q.root}`);
      const base = inode.layout ?? inode.directory?.layout;
      if (base === undefined) throw new FsError('EINVAL', 'neither a file nor a folder');
      const wrong = invalidLayout(merged(base, task));
      if (wrong !== null) throw new FsError('EINVAL', wrong);
      const {k, m} = merged(base, task);
      const {groupSize} = machine.superblock;
      if (k + m > groupSize)
        throw new FsError('EINVAL', `${k}+${m} is wider than a group of ${groupSize}`);
    } else if (q.kind === MOVE.rebalance) {
      if (!(q.tolerance >= 0)) throw new FsError('EINVAL', `tolerance ${q.tolerance}`);
    } else if (q.kind === MOVE.drain) {
      if (!groups.includes(q.group)) throw new FsError('ENOENT', `there is no group ${q.group}`);
      const leaving = drained(cluster.moves);
      if (leaving.has(q.group))
        throw new FsError('EBUSY', `group ${q.group} is being drained already`);
      if (groups.every((id) => id === q.group || leaving.has(id)))
        throw new FsError(
          'EBUSY',
          `group ${q.group} is the only one: there is nowhere to move its objects`,
        );
    } else throw new FsError('EINVAL', `kind ${q.kind}`);
    return task;
  }

  #reply(): wire.MovesReply {
    const {paused, rate, tasks} = this.#parts().cluster.moves;
    const running = tasks.map((task) => this.#run(task).progress);
    return {
      order: {work: tasks.length > 0, paused, rate},
      tasks: [...this.#ended, ...running],
      added: 0,
      plan: null,
    };
  }

  #run(task: MoveTask): Run {
    let run = this.#runs.get(task.id);
    if (run === undefined) {
      run = newRun(task, this.#parts().env.clock.now());
      this.#runs.set(task.id, run);
    }
    return run;
  }

  #result({task, oid, moved, failed, bytes, reason}: wire.MoveResult): void {
    const run = this.#runs.get(task);
    if (run === undefined || !run.open.delete(oid)) return;
    const {progress} = run;
    if (moved) {
      run.moved++;
      progress.objects++;
      progress.bytes += bytes;
    }
    if (!failed) return;
    progress.failed++;
    progress.reason = reason.slice(0, REASON_MAX);
  }

  /** The next ones of a pass; at its end, what follows. */
  async #look(run: Run): Promise<wire.MoveItem[]> {
    const {task} = run;
    if (run.cursor === '') {
      run.given = run.moved = run.progress.failed = 0;
      run.progress.passes++;
      if (task.kind === MOVE.rebalance) {
        run.counted = false;
        run.balance = new Balance(this.#parts().cluster.candidates(), task.tolerance);
      }
    }
    const {items, cursor} = await this.#page(run);
    run.cursor = cursor ?? '';
    for (const {oid} of items) run.open.add(oid);
    run.given += items.length;
    if (cursor !== null) return items;
    if (task.kind === MOVE.rebalance && !run.counted) {
      // What groups have is known: now what is to go is chosen, in the same pass.
      run.counted = true;
      run.cursor = INODES_FROM;
    } else if (items.length > 0) run.cursor = DONE;
    else await this.#passed(run);
    return items;
  }

  async #passed(run: Run): Promise<void> {
    const {clock} = this.#parts().env;
    const {task, given, moved} = run;
    run.cursor = '';
    if (given > 0) run.foundAt = clock.now();
    run.vain = given > 0 && moved === 0 ? run.vain + 1 : 0;
    const over =
      task.kind === MOVE.drain ? await this.#empty(run) : given === 0 || run.vain >= VAIN_MAX;
    if (!over) {
      run.after = clock.now() + (moved > 0 ? 0 : AGAIN_MS);
      return;
    }
    if (task.kind === MOVE.drain) await this.#parts().cluster.dissolve(task.group);
    const {cluster} = this.#parts();
    const tasks = cluster.moves.tasks.filter(({id}) => id !== task.id);
    await cluster.changeMoves({...cluster.moves, tasks});
    this.#end(task.id, false);
  }

  #end(id: number, stopped: boolean): void {
    const run = this.#runs.get(id);
    if (run === undefined) return;
    this.#runs.delete(id);
    this.#ended.push({...run.progress, ended: true, stopped});
    if (this.#ended.length > ENDED_MAX) this.#ended.shift();
  }

  /** Does nothing lie in the group of a drain any more, and will nothing? */
  async #empty({task: {group}, since, given, foundAt}: Run): Promise<boolean> {
    const {machine, env} = this.#parts();
    const now = env.clock.now();
    if (given > 0 || now - since < DRAWN_MS || now - foundAt < LEFT_MS) return false;
    for (let after: ReturnType<typeof machine.removals>[number] | null = null; ; ) {
      const some: ReturnType<typeof machine.removals> = machine.removals(after, ROWS);
      if (some.some(({layout}) => layout.groups.includes(group))) return false;
      if (some.length < ROWS) return true;
      after = some.at(-1)!;
    }
  }

  async #page(run: Run): Promise<{items: wire.MoveItem[]; cursor: string | null}> {
    if (run.cursor === DONE) return {items: [], cursor: null};
    const {machine} = this.#parts();
    if (run.task.kind !== MOVE.convert) return machine.audit((tx) => this.#inodes(tx, run));
    const {items, cursor, folders} = machine.audit((tx) => this.#names(tx, run));
    for (const oid of folders) await this.#setFolder(oid, run.task);
    return {items, cursor};
  }

  /** Rebalance and drain: objects in the order of their numbers. */
  #inodes(tx: Tx, run: Run): {items: wire.MoveItem[]; cursor: string | null} {
    const {task, balance} = run;
    const from = run.cursor === '' || run.cursor === INODES_FROM ? INODES_FROM : `${run.cursor}\0`;
    const rows = tx.store.range(from, keys.letterEnd('i'), ROWS);
    const items: wire.MoveItem[] = [];
    for (const [key, value] of rows) {
      const oid = keys.keyId(key, 1);
      const inode = decodeInode(oid, value);
      const {layout} = inode;
      if (layout === null) continue;
      const size = stored(inode);
      if (task.kind === MOVE.rebalance && !run.counted) balance!.add(layout, size);
      else {
        const groups =
          task.kind === MOVE.rebalance
            ? balance!.choose(layout, size)
            : layout.groups.includes(task.group)
              ? []
              : null;
        if (groups !== null)
          items.push({
            task: task.id,
            oid,
            layout: {...layout, groups},
            groupCount: layout.groups.length,
          });
      }
      if (items.length >= ITEMS) return {items, cursor: key};
    }
    return {items, cursor: rows.length < ROWS ? null : rows.at(-1)![0]};
  }

  /** Convert: all names, since only they say what is below a folder. */
  #names(tx: Tx, run: Run): {items: wire.MoveItem[]; cursor: string | null; folders: number[]} {
    const {task} = run;
    const items: wire.MoveItem[] = [];
    const folders: number[] = [];
    const root = tx.find(task.root);
    if (root === null) return {items, cursor: null, folders};
    const add = (inode: Inode | null): void => {
      if (inode?.directory && differs(inode.directory.layout, task)) folders.push(inode.oid);
      const item = inode === null ? null : converted(inode, task);
      if (item !== null) items.push(item);
    };
    if (run.cursor === '') add(root);
    if (root.layout !== null) return {items, cursor: null, folders};
    const inside = new Map<number, boolean>([[task.root, true]]);
    const from = run.cursor === '' ? 'd' : `${run.cursor}\0`;
    const rows = tx.store.range(from, keys.letterEnd('d'), ROWS);
    for (const [key, value] of rows) {
      if (below(tx, keys.keyId(key, 1), inside)) add(tx.find(decodeName(value).oid));
      if (items.length >= ITEMS) return {items, cursor: key, folders};
    }
    return {items, cursor: rows.length < ROWS ? null : rows.at(-1)![0], folders};
  }

  /** What a folder gives to new files becomes what its files are converted to. */
  async #setFolder(
    oid: number,
    {k, m, unitBytes, chunkBytes, groupCount}: MoveTask,
  ): Promise<void> {
    const {machine, leases} = this.#parts();
    const request = {oid, k, m, unitBytes, chunkBytes, groupCount};
    try {
      await leases.exclusive(oid, () =>
        machine.submit(OPS.layoutSet, {session: 0, requestId: 0, request}),
      );
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
    }
  }

  /** What a task would move, without moving it. */
  async #plan(task: MoveTask): Promise<wire.MovePlan> {
    const {machine, cluster, env} = this.#parts();
    const plan = {objects: 0, bytes: 0, traffic: 0};
    const run = newRun(task, env.clock.now());
    run.balance = new Balance(cluster.candidates(), task.tolerance);
    for (;;) {
      const page = machine.audit((tx) =>
        task.kind === MOVE.convert ? this.#names(tx, run) : this.#inodes(tx, run),
      );
      for (const {oid, layout} of page.items) {
        const inode = machine.audit((tx) => tx.find(oid));
        if (inode === null || inode.layout === null) continue;
        const bytes = stored(inode);
        plan.objects++;
        plan.bytes += bytes;
        plan.traffic += bytes + columnBytesOf(layout!, bytes);
      }
      run.cursor = page.cursor ?? INODES_FROM;
      if (page.cursor === null) {
        if (task.kind !== MOVE.rebalance || run.counted) return plan;
        run.counted = true;
      }
      await sleep(env.clock, REST_MS);
    }
  }
}

const INODES_FROM = 'i';
/** Nothing is left of the pass but to hear what has become of the last ones. */
const DONE = '\uffff';

/** Bytes of an object that are in columns, at most. */
const stored = ({size, inlineBytes}: Inode): number => (size <= inlineBytes ? 0 : size);

type Striping = Pick<wire.Layout, 'k' | 'm' | 'unitBytes' | 'chunkBytes'>;

function merged({k, m, unitBytes, chunkBytes}: Striping, task: MoveTask): Striping {
  return {
    k: task.k > 0 ? task.k : k,
    m: task.k > 0 ? task.m : m,
    unitBytes: task.unitBytes > 0 ? task.unitBytes : unitBytes,
    chunkBytes: task.chunkBytes > 0 ? task.chunkBytes : chunkBytes,
  };
}

function differs(layout: Striping & {groupCount: number}, task: MoveTask): boolean {
  const to = merged(layout, task);
  const {k, m, unitBytes, chunkBytes, groupCount} = layout;
  const groups = task.groupCount > 0 && groupCount !== task.groupCount;
  return (
    groups || to.k !== k || to.m !== m || to.unitBytes !== unitBytes || to.chunkBytes !== chunkBytes
  );
}

/** Null: it lies so. Groups stay unless there are to be more or fewer. */
function converted({oid, layout}: Inode, task: MoveTask): wire.MoveItem | null {
  if (layout === null) return null;
  const groupCount = layout.groups.length;
  if (!differs({...layout, groupCount}, task)) return null;
  const more = task.groupCount > 0 && task.groupCount !== groupCount;
  const to = {...layout, ...merged(layout, task), groups: more ? [] : [...layout.groups]};
  return {task: task.id, oid, layout: to, groupCount: more ? task.groupCount : groupCount};
}

/** Is a folder one of those, or below one? */
function below(tx: Tx, oid: number, inside: Map<number, boolean>): boolean {
  const way: number[] = [];
  let at = oid;
  let known = inside.get(at);
  while (known === undefined) {
    way.push(at);
    const inode = tx.find(at);
    const parent = inode?.directory?.parent;
    if (parent === undefined || parent === at || (inode!.mode & S_IFMT) !== S_IFDIR) known = false;
    else {
      at = parent;
      known = inside.get(at);
    }
  }
  for (const one of way) inside.set(one, known);
  return known;
}
