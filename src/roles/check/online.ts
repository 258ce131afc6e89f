import {FsError} from '../../core/base/errors.js';
import {type OpenedClient, openClient} from '../../core/client/index.js';
import {silentLog} from '../../core/env/log.js';
import {OPS} from '../../core/protocol/ops.js';
import type {PeerLike} from '../../core/transport/peer-api.js';
import {withMeta} from '../admin.js';
import {CliError, EXIT} from '../cli-error.js';
import {clientEnv} from '../real-env.js';
import {checkFiles, checkInventories} from './columns.js';
import {checkNames, type NameSource} from './names.js';
import type {Report} from './report.js';

export interface OnlineCheck {
  meta: string;
  timeoutMs: number;
  repair: boolean;
  /** False: what columns have is not read. */
  data: boolean;
}

const POOL = {small: 128, medium: 160, large: 16};
const CLOSE_MS = 10_000;
/** A page waits behind what others ask for. */
const PAGE_MS = 30_000;

/** Checks a running cluster, under whatever load. */
export async function checkOnline(what: OnlineCheck, report: Report): Promise<void> {
  const {meta, timeoutMs, repair, data} = what;
  await withMeta(meta, timeoutMs, async (peer) => {
    const source = sourceOf(peer, repair);
    await checkNames(source, report);
    const client = await opened(meta, timeoutMs);
    try {
      const checks = {client, source, report, repair};
      await checkInventories(checks);
      if (data) await checkFiles(checks);
    } finally {
      await client.close(CLOSE_MS);
    }
  });
}

async function opened(meta: string, connectMs: number): Promise<OpenedClient> {
  try {
    const name = `check:${process.pid}`;
    // Nothing is kept or read ahead: each byte is to come from its disk.
    const rest = {connectMs, readaheadBytes: 0, keepBlocks: false, cacheNames: false};
    return await openClient(clientEnv(silentLog, POOL), {meta, name, ...rest});
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    throw new CliError(
      `the meta server ${meta} takes no client now (${error.message}); try again in a moment`,
      EXIT.unavailable,
    );
  }
}

function sourceOf(peer: PeerLike, repair: boolean): NameSource {
  const deadline = {deadlineMs: PAGE_MS};
  return {
    inodes: async (q) => (await peer.call(OPS.inodes, q, deadline)).message,
    names: async (q) => (await peer.call(OPS.names, q, deadline)).message,
    mend: repair ? async (q) => void (await peer.call(OPS.mend, q, deadline)) : null,
  };
}
