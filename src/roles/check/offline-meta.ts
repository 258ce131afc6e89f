import {join} from 'node:path';
import {crc32c} from '../../core/base/crc32c.js';
import {messageOf} from '../../core/base/errors.js';
import type {Env} from '../../core/env/env.js';
import {silentLog} from '../../core/env/log.js';
import {inodesOf, namesOf} from '../../core/meta/audit.js';
import {SUPERBLOCK_KEY} from '../../core/meta/keys.js';
import {HEADER_BYTES} from '../../core/meta/log.js';
import {Machine} from '../../core/meta/machine.js';
import {LmdbKv} from '../../core/os/kv-lmdb.js';
import {OPS, type Op} from '../../core/protocol/ops.js';
import {frozenKv} from './frozen.js';
import {checkNames, type NameSource} from './names.js';
import type {Report} from './report.js';

type MetaEnv = Pick<Env, 'clock' | 'disk'>;

/** Nothing is to be written into the store while it is looked at. */
const NEVER_MS = 2 ** 31 - 1;
const COPY_FIRST = 'copy the folder before the server is started: the start cuts the log there';

/** The log's records; then the state that a start would come to: names against inodes. */
export async function checkMetaFolder(env: MetaEnv, state: string, report: Report): Promise<void> {
  await checkLog(env, report);
  const kv = await LmdbKv.open(join(state, 'store'));
  let machine: Machine | null = null;
  try {
    machine = await opened(env, frozenKv(kv), report);
    if (machine !== null) await checkNames(sourceOf(machine), report);
  } finally {
    await machine?.close();
    await kv.close();
  }
}

async function opened(
  env: MetaEnv,
  kv: ReturnType<typeof frozenKv>,
  report: Report,
): Promise<Machine | null> {
  const empty = kv.get(SUPERBLOCK_KEY) === undefined && (await env.disk.list('log')).length === 0;
  try {
    if (empty) throw new Error('there is nothing in it');
    const layout = {k: 1, m: 0, unitBytes: 4096, chunkBytes: 4096, groupCount: 1};
    return await Machine.open(
      {...env, kv, log: silentLog},
      {
        format: {cluster: '', groupSize: 1, rootLayout: layout, features: []},
        onApplied: () => {},
        onFailed: () => {},
        checkpointMs: NEVER_MS,
        checkpointBytes: Number.MAX_SAFE_INTEGER,
      },
    );
  } catch (error) {
    const what = `its state cannot be read: ${messageOf(error)}`;
    report.add({kind: 'file', file: 'store', what, todo: 'start from a copy of the folder'});
    return null;
  }
}

function sourceOf(machine: Machine): NameSource {
  const whole = <Q, R>(op: Op<Q, R>, q: Partial<Q>): Q => op.request.decode(op.request.encode(q));
  return {
    inodes: async (q) => inodesOf(machine, whole(OPS.inodes, q)),
    names: async (q) => namesOf(machine, whole(OPS.names, q)),
    mend: null,
  };
}

/** The log may end in half a record after a power cut; if whole ones follow a broken one, it was not a power cut. */
async function checkLog({disk}: MetaEnv, report: Report): Promise<void> {
  const names = (await disk.list('log')).filter((name) => /^[0-9a-f]{10}$/.test(name)).sort();
  let broken: {file: string; at: number} | null = null;
  for (const name of names) {
    const file = `log/${name}`;
    const bytes = (await disk.readFile(file)) ?? new Uint8Array(0);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
      const length = view.getUint32(at, true);
      const end = at + HEADER_BYTES + length;
      const whole = length > 0 && end <= bytes.length;
      if (whole && crc32c(bytes, at + 8, end) === view.getUint32(at + 4, true)) {
        if (broken !== null) {
          const what = `the record at byte ${broken.at} fails its sum, and whole ones follow`;
          report.add({kind: 'file', file: broken.file, what, todo: COPY_FIRST});
          return;
        }
      } else broken ??= {file, at};
      // The length of a broken record may be right.
      if (!whole) break;
      at = end;
    }
  }
}
