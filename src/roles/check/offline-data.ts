import {crc32c} from '../../core/base/crc32c.js';
import {FsError, messageOf} from '../../core/base/errors.js';
import {PAYLOAD_BYTES_MAX} from '../../core/base/pool.js';
import {BLOCK_BYTES} from '../../core/base/units.js';
import {ChunkLog, RECORD_BYTES} from '../../core/data/chunk-log.js';
import {allocate, type Column} from '../../core/data/column.js';
import {ColumnStore} from '../../core/data/column-store.js';
import {type ColumnId, folderOf, nameOf, parseName, pathOf} from '../../core/data/format.js';
import {Intents} from '../../core/data/intents.js';
import {storedSums} from '../../core/data/sums.js';
import type {Env} from '../../core/env/env.js';
import type {Report} from './report.js';

type DataEnv = Pick<Env, 'disk' | 'pool' | 'codec'>;

const MEND_ONLINE =
  "start the server, then 'cpfs check --repair --meta HOST:PORT' makes it anew from the others";

/** server.json, the logs, and every column: its name, its header, the sums of its blocks. */
export async function checkDataFolder(env: DataEnv, report: Report): Promise<void> {
  for (const file of ['server.json', 'life.json']) await checkJson(env, file, report);
  for (const file of ['logs/intents', 'logs/missed']) await checkLog(env, file, report);
  const store = new ColumnStore(env.disk, env.pool);
  const log = await ChunkLog.open(env.disk, 'logs/intents', () => {});
  const intents = new Intents(log, store);
  for (const folder of await env.disk.list('columns')) {
    for (const name of await env.disk.list(`columns/${folder}`)) {
      const file = `columns/${folder}/${name}`;
      const id = parseName(name);
      if (id === null || folderOf(id.oid) !== `columns/${folder}`) {
        report.add({kind: 'file', file, what: 'it is no column', todo: 'move it away'});
        continue;
      }
      report.looked.columns++;
      await checkColumn(env, store, id, intents.has(id), report);
    }
  }
  await store.close();
}

async function checkJson({disk}: DataEnv, file: string, report: Report): Promise<void> {
  const bytes = await disk.readFile(file);
  try {
    if (bytes !== null) JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    const todo =
      file === 'server.json'
        ? 'start the server on an empty folder: it is made whole from the others'
        : 'the server starts without it, and what it has is compared with the others';
    report.add({kind: 'file', file, what: 'it cannot be read', todo});
  }
}

/** A log may end in half a record after a power cut; whole ones behind a broken one are lost. */
async function checkLog({disk}: DataEnv, file: string, report: Report): Promise<void> {
  const bytes = (await disk.readFile(file)) ?? new Uint8Array(0);
  let broken = -1;
  for (let at = 0; at + RECORD_BYTES <= bytes.length; at += RECORD_BYTES) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, RECORD_BYTES);
    const good = view.getUint32(28, true) === crc32c(bytes, at, at + 28);
    if (!good) broken = broken < 0 ? at : broken;
    else if (broken >= 0) {
      const what = `the record at byte ${broken} fails its sum, and others follow`;
      const todo = `start the server, then 'cpfs check --meta HOST:PORT' compares what it has`;
      report.add({kind: 'file', file, what, todo});
      return;
    }
  }
}

async function checkColumn(
  env: DataEnv,
  store: ColumnStore,
  id: ColumnId,
  intent: boolean,
  report: Report,
): Promise<void> {
  const found = {inode: id.oid, chunk: id.chunk, file: pathOf(id)};
  try {
    // Null: its header never reached the disk, so it has nothing that anybody relies on.
    const bad = (await store.use(id, null, false, (column) => badBlocks(env, column))) ?? 0;
    if (bad === 0) return;
    if (intent) {
      report.miss('columns that were being written: the start compares them with the others');
      return;
    }
    const what = `${bad === 1 ? '1 block' : `${bad} blocks`} of it fail their sums`;
    report.add({kind: 'column', ...found, what, todo: MEND_ONLINE});
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    const what = messageOf(error).replace(`${nameOf(id)}: `, '');
    report.add({kind: 'column', ...found, what, todo: MEND_ONLINE});
  }
}

async function badBlocks({pool, codec}: DataEnv, column: Column): Promise<number> {
  let bad = 0;
  for (let offset = 0; offset < column.bytes; offset += PAYLOAD_BYTES_MAX) {
    const length = Math.min(PAYLOAD_BYTES_MAX, column.bytes - offset);
    const slot = await allocate(pool, length);
    const got = await column.read([{offset, length}], false, slot);
    if (got.slot === null) continue;
    const actual = new Uint8Array(storedSums(codec, pool.memory, got.offset, length).buffer);
    for (let at = 0; at < (length / BLOCK_BYTES) * 4; at += 4)
      if (Buffer.compare(actual.subarray(at, at + 4), got.sums.subarray(at, at + 4)) !== 0) bad++;
    pool.release(got.slot);
  }
  return bad;
}
