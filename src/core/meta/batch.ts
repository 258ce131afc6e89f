import {assert} from '../base/assert.js';
import type {Time} from '../protocol/gen/wire.js';
import {ByteReader, ByteWriter} from './byte-writer.js';

/** One command as the log has it: all that the operation gets, but the time, which is the batch's. */
export interface LoggedCommand {
  code: number;
  session: number;
  requestId: number;
  /** 0: the operation makes nothing. */
  oid: number;
  groups: readonly number[];
  /** The encoded request. */
  request: Uint8Array;
  /** What came beside it. */
  payload: Uint8Array;
}

export interface Batch {
  now: Time;
  /** Of the store before the batch (LayeredStore.digest); null: not all meta servers could read it. */
  digest: number | null;
  commands: LoggedCommand[];
}

const NO_BYTES = new Uint8Array(0);
/** Raised when fields change; a log that holds older batches stays readable. */
const BATCH_VERSION = 3;
const BATCH_WITHOUT_DIGEST = 2;

export function encodeBatch(batch: Batch): Uint8Array {
  let payload = 0;
  for (const c of batch.commands) payload += c.request.length + c.payload.length;
  const w = new ByteWriter(64 + 128 * batch.commands.length + payload);
  const {now, digest} = batch;
  w.u8(digest === null ? BATCH_WITHOUT_DIGEST : BATCH_VERSION);
  w.int(now.sec).u32(now.nsec).u32(batch.commands.length);
  if (digest !== null) w.u32(digest);
  for (const c of batch.commands) {
    w.u16(c.code).int(c.session).int(c.requestId).int(c.oid).u8(c.groups.length);
    for (const group of c.groups) w.u32(group);
    w.blob(c.request).blob(c.payload);
  }
  return w.end();
}

export function decodeBatch(bytes: Uint8Array): Batch {
  const r = new ByteReader(bytes);
  const version = r.u8();
  assert(version >= 1 && version <= BATCH_VERSION, `batch of version ${version}`);
  const now = {sec: r.int(), nsec: r.u32()};
  const count = r.u32();
  const digest = version >= 3 ? r.u32() : null;
  const commands = Array.from({length: count}, () => ({
    code: r.u16(),
    session: r.int(),
    requestId: r.int(),
    oid: r.int(),
    groups: Array.from({length: r.u8()}, () => r.u32()),
    request: r.blob(),
    payload: version >= 2 ? r.blob() : NO_BYTES,
  }));
  return {now, digest, commands};
}
