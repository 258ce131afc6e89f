import {FsError, Refusal} from '../base/errors.js';
import {UNLOCKED} from '../lock/range-locks.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {Handlers} from '../transport/handlers.js';
import {LOCKS_PER_SESSION_MAX, statementOf} from './locks.js';
import {type ClientConnection, current, heard, type Parts} from './parts.js';
import {reclaiming} from './sessions.js';

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
    const said = reclaiming(c.session).locks;
    for (const object of objects) said.set(object.oid, statementOf(object, c.session.id));
    if (count(objects) + said.size > 2 * LOCKS_PER_SESSION_MAX)
      throw new FsError('EINVAL', 'reclaim');
    return {message: {}};
  });
}

const count = (objects: readonly wire.ObjectLocks[]): number =>
  objects.reduce((sum, {locks}) => sum + locks.length, 0);
