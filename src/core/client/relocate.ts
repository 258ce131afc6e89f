import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {KIB, MIB} from '../base/units.js';
import type {Layout} from '../layout/scheme.js';
import {chunkDataBytes, stripeBytes} from '../layout/stripe.js';
import {EVERYTHING} from '../lease/ranges.js';
import {LEASE, OPS} from '../protocol/ops.js';
import type {BytePath} from './columns.js';
import {ExtentList, SlotLedger} from './extents.js';
import {Held} from './held.js';
import type {OpenedClient} from './index.js';
import {laid} from './laid.js';
import type {Pace} from './pace.js';
import {locate} from './place.js';
import {doubted} from './scrub-repair.js';
import {readStripes} from './stripe-reader.js';
import {writeStripes} from './stripe-writer.js';
import {writeTarget} from './target.js';
import {Window} from './window.js';

/** Bytes that are read, and then written, at a time; whole stripes. */
const STEP_BYTES = 2 * MIB;
/** What is all zeros is left out in pieces of so many bytes: holes stay holes. */
const HOLE_BYTES = 64 * KIB;
const ZEROS = Buffer.alloc(HOLE_BYTES);
/** So long programs wait for a move to end; an object that is never left alone could not be moved else. */
const PATIENCE_MS: Ms = 1000;
/** A server that does not answer makes the move try again later: a lease that is recalled must go within 10 s. */
const MOVE_WAIT_MS = 3000;

/** Where an object is to go. No groups: the meta server draws as many as `groupCount`. */
export type Target = Omit<Layout, 'generation'> & {groupCount: number};

export interface MoveOptions {
  /** Asked between steps: true ends the move, and what was copied goes. */
  stopped(): boolean;
  pace?: Pace | undefined;
}

/** moved: it lies there; same: it did before; gone: it is not there, or no file; busy: programs want it, or it was stopped. */
export type Moved = {is: 'moved' | 'same' | 'gone' | 'busy'; bytes: number};

/** Programs want the object: what was copied of it is given up. */
class Wanted extends Error {
  override readonly name = 'Wanted';
}

/**
 * Moves an object to another layout: under its write lease everything is copied to columns of a new generation and synced; then, in one step, the meta server
 * says that it lies there, and removes what it lay in. Whoever wants the object meanwhile waits a second; a move that takes longer is given up, to be begun again. Rejects as reads and
 * writes do; nothing has changed then.
 */
export async function moveObject(
  client: OpenedClient,
  oid: number,
  target: (layout: Layout) => Target | null,
  options: MoveOptions,
): Promise<Moved> {
  const {holder, syncer} = client.parts;
  let result: Moved = {is: 'same', bytes: 0};
  let begun = false;
  const run = async (held: Held): Promise<void> => {
    begun = true;
    const layout = held.layout!;
    const to = target(layout);
    if (to === null) return;
    await held.exclusive(async () => {
      result = {is: 'moved', bytes: await moveHeld(client, held, to, options)};
    });
    // Its chunks leave the intent logs while the lease is held; else whoever writes them next sees to that.
    await syncer.settle().catch(() => {});
  };
  try {
    await holder.use(oid, LEASE.write, run, EVERYTHING);
  } catch (error) {
    if (error instanceof Wanted) return {is: 'busy', bytes: 0};
    const gone = begun ? ['ENOENT', 'ESTALE'] : ['ENOENT', 'ESTALE', 'EINVAL'];
    if (error instanceof FsError && gone.includes(error.errno)) return {is: 'gone', bytes: 0};
    throw error;
  }
  return result;
}

/** Inside `held.exclusive`. Resolves with how many bytes were copied. */
async function moveHeld(
  client: OpenedClient,
  held: Held,
  {groupCount, ...where}: Target,
  options: MoveOptions,
): Promise<number> {
  const {session, path: mine, cache, syncer} = client.parts;
  const {oid} = held;
  if (await inDoubt(mine, held)) throw new Wanted();
  const layout = {...where, groups: [...where.groups], generation: 0};
  const begun = await session.call(OPS.relocate, {
    oid,
    layout,
    begin: true,
    moved: false,
    groupCount,
  });
  const next = begun.message.layout!;
  const path = {...mine, columnWaitMs: MOVE_WAIT_MS, tooFewWaitMs: 0};
  const copy = new Held(oid, cache, () => {});
  copy.layout = next;
  copy.mode = LEASE.write;
  const end = async (moved: boolean): Promise<void> => {
    await session.call(OPS.relocate, {oid, layout: next, begin: false, moved, groupCount: 0});
  };
  let bytes = 0;
  try {
    bytes = await copyAll(path, held, copy, options);
    await syncer.sync(copy, true);
    if (held.gone) throw new FsError('ESTALE', `object ${oid}`);
  } catch (error) {
    copy.forget();
    // What nobody tells the meta server is found when the next attempt begins.
    await end(false).catch((failure: unknown) =>
      path.log.info('move.unended', {oid, reason: messageOf(failure)}),
    );
    throw error;
  }
  await end(true);
  const chunks = [...copy.settle];
  laid(held, next);
  for (const chunk of chunks) held.settle.add(chunk);
  return bytes;
}

/** Is there a change that was given up half way, and that no resync has seen? Which column is read decides what is copied then. */
async function inDoubt(path: BytePath, held: Held): Promise<boolean> {
  const layout = held.layout!;
  const chunks = Math.ceil(held.flushedSize / chunkDataBytes(layout));
  for (let chunk = 0; chunk < chunks; chunk++)
    if (await doubted(path, locate(path.columns.map, layout, held.oid, chunk))) return true;
  return false;
}

async function copyAll(
  path: BytePath,
  held: Held,
  copy: Held,
  {stopped, pace}: MoveOptions,
): Promise<number> {
  const {clock, pool} = path;
  const next = copy.layout!;
  const stripe = stripeBytes(next);
  const step = Math.max(stripe, STEP_BYTES - (STEP_BYTES % stripe));
  const list = new ExtentList(new SlotLedger(pool));
  const window = new Window(2 * step);
  const {tenure} = held;
  const revoked = (): boolean => held.revoked || held.tenure !== tenure;
  const target = {...writeTarget(copy, next), revoked};
  let since: Ms | null = null;
  const wanted = (): boolean => {
    if (held.gate === null) since = null;
    else since ??= clock.now();
    return revoked() || stopped() || (since !== null && clock.now() - since >= PATIENCE_MS);
  };
  const source = {oid: held.oid, layout: held.layout!, heal: null};
  let bytes = 0;
  try {
    for (let at = 0; at < held.flushedSize; at += step) {
      if (wanted()) throw new Wanted();
      const to = Math.min(held.flushedSize, at + step);
      bytes += await load(path, source, list, at, to);
      if (list.count > 0)
        await writeStripes(path, window, target, list, (a, b) => list.remove(a, b));
      const other = (): boolean => held.gate !== null;
      // Paused.
      if (!other() && (await pace?.moved(clock.now(), other)) === false && !other())
        throw new Wanted();
    }
  } finally {
    list.clear();
  }
  return bytes;
}

/** Reads [from, to) into the list, but for holes. Resolves with how many bytes that is. */
async function load(
  path: BytePath,
  source: {oid: number; layout: Layout; heal: null},
  list: ExtentList,
  from: number,
  to: number,
): Promise<number> {
  const {pool, slots} = path;
  const segments = await readStripes(path, source, from, to);
  let bytes = 0;
  let offset = from;
  for (const {slot, offset: memory, length} of segments) {
    for (let done = 0; done < length; done += HOLE_BYTES) {
      const some = Math.min(HOLE_BYTES, length - done);
      const view = pool.view(memory + done, some);
      if (Buffer.compare(view, ZEROS.subarray(0, some)) === 0) continue;
      list.add({offset: offset + done, length: some, slot, memory: memory + done});
      bytes += some;
    }
    offset += length;
  }
  slots.releaseAll(segments);
  return bytes;
}
