import {FsError, Refusal} from '../base/errors.js';
import {UNLOCKED} from '../lock/range-locks.js';
import {OPS} from '../protocol/ops.js';
import type {Handlers} from '../transport/handlers.js';
import {LOCKS_PER_SESSION_MAX, statementOf} from './locks.js';
import {type ClientConnection, current, heard, type Parts} from './parts.js';
import {reclaiming} from './sessions.js';

/** Locks and objects that one session claims after a reconnect. */
const CLAIMED_MAX = 3 * LOCKS_PER_SESSION_MAX;

/** fcntl(2) and flock(2). */
export function lockHandlers(on: Handlers<ClientConnection>, parts: Parts): void {
  const {env, locks, machine} = parts;
  on.on(OPS.lock, (request, c) => {
    heard(c, env);
    if (!current(c)) throw new Refusal('Busy', 'the connection was replaced');
    const {oid, lock} = request;
    // What was unlinked and closed is unlocked, too.
    if (lock.type !== UNLOCKED && !machine.read((tx) => tx.exists(oid)))
      throw new FsError('ESTALE', `object ${oid}`);
    return locks.ask(c.session, request).then((message) => ({message}));
  });
  on.on(OPS.lockCancel, ({name}, c) => {
    heard(c, env);
    locks.cancel(c.session, name);
    return {message: {}};
  });
  on.on(OPS.lockReturn, ({objects}, c) => {
    heard(c, env);
    if (current(c)) locks.gaveBack(c.session, objects);
    return {message: {}};
  });
  on.on(OPS.lockReclaim, ({objects}, c) => {
    heard(c, env);
    const claim = reclaiming(c.session);
    for (const object of objects) {
      const {delegation, locks: held} = statementOf(object, c.session.id);
      const before = claim.locks.get(object.oid)?.locks ?? [];
      claim.locks.set(object.oid, {delegation, locks: [...before, ...held]});
      // An object costs as much as a lock.
      claim.claimed += 1 + held.length;
      if (claim.claimed > CLAIMED_MAX) throw new FsError('EINVAL', 'reclaim');
    }
    return {message: {}};
  });
}
