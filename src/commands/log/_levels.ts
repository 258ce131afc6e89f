import {Flags} from '@oclif/core';
import {EXIT} from '../../roles/cli-error.js';
import type {Asked} from '../../roles/support/servers.js';
import {alignedRows, metaFlag, outputFlag, timeoutFlag} from '../_base.js';

export const levelFlags = {
  meta: metaFlag,
  server: Flags.string({
    summary: 'address of the server that is meant, HOST:PORT; else all of the cluster',
    multiple: true,
    default: [],
  }),
  output: outputFlag,
  timeout: timeoutFlag,
};

/** What each server logs, and which ones did not answer. Exit code 8: some did not. */
export function levelsText(asked: readonly Asked[], output: string): string {
  if (asked.some(({reply}) => reply === null)) process.exitCode = EXIT.degraded;
  const servers = asked.map(({role, address, reply, why}) => ({
    role,
    address,
    levels: reply?.levels ?? null,
    revertsSeconds: reply === null ? 0 : Math.ceil(reply.revertsMs / 1000),
    why,
  }));
  if (output === 'json') return JSON.stringify({version: 1, servers}, null, 2);
  return alignedRows(
    servers.map(({role, address, levels, revertsSeconds, why}) => [
      role,
      address,
      levels ?? `no answer: ${why}`,
      revertsSeconds === 0 ? '' : `for ${revertsSeconds} s`,
    ]),
  );
}
