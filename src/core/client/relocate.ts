import {FsError} from '../base/errors.js';
import type {Layout} from '../layout/scheme.js';
import {EVERYTHING} from '../lease/ranges.js';
import {LEASE} from '../protocol/ops.js';
import type {Held} from './held.js';
import type {OpenedClient} from './index.js';
import {Move, type MoveOptions, type Target, Wanted} from './move.js';

export interface Moved {
  /** moved: it lies there; same: it did before; gone: it is not there, or no file; busy: programs want it, or it was stopped. */
  is: 'moved' | 'same' | 'gone' | 'busy';
  /** Of what was moved, but for holes. */
  bytes: number;
  /** What was written, as often as it was. */
  copied: number;
  /** In which it was copied while programs could use it. */
  rounds: number;
}

/**
 * Moves an object to another layout: everything is copied to columns of a new generation and synced, at the end under its write lease; then, in one step, the meta server
 * says that it lies there, and removes what it lay in. Rejects as reads and writes do; nothing has changed then.
 */
export async function moveObject(
  client: OpenedClient,
  oid: number,
  target: (layout: Layout) => Target | null,
  options: MoveOptions,
): Promise<Moved> {
  const {holder, syncer} = client.parts;
  let move: Move | null = null;
  let is: 'moved' | 'same' | null = null;
  let begun = false;
  const underLease = async (held: Held): Promise<void> => {
    begun = true;
    await held.exclusive(async () => {
      const to = move === null ? target(held.layout!) : null;
      if (move === null && to === null) is = 'same';
      else {
        move ??= await Move.begin(client, held, to!, options);
        if (await move.tenure(held)) is = 'moved';
      }
    });
    // Its chunks leave the intent logs while the lease is held, if programs have not waited long; else whoever writes them next sees to that.
    if (is === 'moved' && !move!.late) await syncer.settle().catch(() => {});
  };
  const result = (what: Moved['is']): Moved => {
    const {bytes = 0, copied = 0, count = 0} = move ?? {};
    return {is: what, bytes, copied, rounds: count};
  };
  try {
    for (;;) {
      await holder.use(oid, LEASE.write, underLease, EVERYTHING);
      if (is !== null) return result(is);
      await move!.rounds();
    }
  } catch (error) {
    await (move as Move | null)?.giveUp();
    if (error instanceof Wanted) return result('busy');
    const gone = begun ? ['ENOENT', 'ESTALE'] : ['ENOENT', 'ESTALE', 'EINVAL'];
    if (error instanceof FsError && gone.includes(error.errno)) return result('gone');
    throw error;
  } finally {
    await (move as Move | null)?.close();
  }
}
