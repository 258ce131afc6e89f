import {Flags} from '@oclif/core';
import type {Limits} from '../core/base/identity.js';
import {parseSize} from '../core/base/units.js';
import {CliError, EXIT} from '../roles/cli-error.js';

/** What is taken from the rights of a client. */
export const limitFlags = {
  path: Flags.string({summary: 'the folder of the cluster that is all that its holder sees'}),
  'squash-root': Flags.string({
    summary: 'what its root makes belongs to this user and group, and it gives nothing to root',
    helpValue: 'UID:GID',
  }),
  size: Flags.string({summary: 'what df shows at most, such as 10G; nothing is held to it'}),
};

export function limitsOf(flags: {
  path?: string;
  'squash-root'?: string;
  size?: string;
}): Limits | undefined {
  const {path = '', 'squash-root': squash, size} = flags;
  if (path === '' && squash === undefined && size === undefined) return undefined;
  const ids = squash === undefined ? null : /^(\d{1,10}):(\d{1,10})$/.exec(squash);
  if (squash !== undefined && ids === null)
    throw new CliError(`--squash-root is UID:GID, not '${squash}'`, EXIT.usage);
  const bytes = size === undefined ? 0 : parseSize(size);
  if (bytes === null)
    throw new CliError(`--size is a number of bytes such as 10G, not '${size}'`, EXIT.usage);
  return {
    path: path.replace(/\/+$/, ''),
    squash: ids === null ? null : {uid: Number(ids[1]), gid: Number(ids[2])},
    bytes,
  };
}
