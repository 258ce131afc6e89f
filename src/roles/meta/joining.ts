import {readFileSync} from 'node:fs';
import {FsError} from '../../core/base/errors.js';
import {isRights} from '../../core/base/identity.js';
import type {Joining} from '../../core/meta/tokens.js';
import {tokenIdentity} from '../../core/os/keyring.js';
import {issue} from '../keys.js';
import {keysPath, readKeys} from '../security.js';

/** Null: this node has no key of a cluster, or no keys at all. */
export function joiningByKeys(): Joining | null {
  const path = keysPath();
  if (path === '' || !readKeys(path).isServer) return null;
  return {
    identity: (token) => tokenIdentity(readKeys(path).keys[0]!, token),
    keys: (token, machine) => {
      if (token.role !== 'client') return readFileSync(path, 'utf8');
      const {rights, squashUid, squashGid, bytes} = token;
      if (!isRights(rights)) throw new FsError('EINVAL', `the rights '${rights}'`);
      const squash = squashUid === 0 ? null : {uid: squashUid, gid: squashGid};
      const limited = token.path !== '' || squash !== null || bytes > 0;
      const limits = limited ? {path: token.path, squash, bytes} : undefined;
      const name = token.name === '' ? machine.replace(/[^A-Za-z0-9._-]/g, '-') : token.name;
      try {
        return issue(path, name.replace(/^[^A-Za-z0-9]+/, '') || 'client', rights, 0, limits);
      } catch (error) {
        throw new FsError('EINVAL', (error as Error).message);
      }
    },
  };
}
