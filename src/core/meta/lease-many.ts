import {FsError} from '../base/errors.js';
import {KIB} from '../base/units.js';
import {NONE, READ} from '../lease/lease-object.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {Handlers} from '../transport/handlers.js';
import {delegated} from './delegation.js';
import {overlong} from './overlong.js';
import {type ClientConnection, current, heard, type Parts} from './parts.js';

const OIDS_MAX = 128;
/** Of inline bytes in one reply. */
const BYTES_MAX = 256 * KIB;
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;

interface Found {
  lease: wire.LeaseReply;
  inline: Uint8Array;
}

/** Leases that a client is likely to want next, with what it would be told when it opens the files. Nothing is waited for. */
export function leaseManyHandler(on: Handlers<ClientConnection>, parts: Parts): void {
  const {env} = parts;
  on.on(OPS.leaseMany, ({oids}, c) => {
    heard(c, env);
    if (oids.length > OIDS_MAX) throw new FsError('EINVAL', `${oids.length} leases`);
    const leases: wire.LeaseReply[] = [];
    const pieces: Uint8Array[] = [];
    let length = 0;
    for (const oid of oids) {
      const found =
        current(c) && !parts.leases.table.grace ? offer(parts, c, oid, BYTES_MAX - length) : null;
      if (found === null) continue;
      leases.push(found.lease);
      pieces.push(found.inline);
      length += found.inline.length;
    }
    if (length === 0) return {message: {leases}};
    const slot = env.pool.alloc(length);
    if (slot === -1) {
      // The leases are given already: their bytes can be asked for.
      return {message: {leases}};
    }
    const offset = env.pool.payload(slot);
    let at = offset;
    for (const piece of pieces) {
      env.pool.view(at, piece.length).set(piece);
      at += piece.length;
    }
    return {message: {leases}, payload: [{slot, offset, length}]};
  });
}

/** Null: it is not free at once, or too long for what is left of the reply. */
function offer(parts: Parts, c: ClientConnection, oid: number, bytesLeft: number): Found | null {
  const {machine, leases, cluster} = parts;
  const found = machine.read((tx) => {
    if (!tx.exists(oid)) return null;
    const attr = tx.attr(oid);
    if ((attr.mode & S_IFMT) !== S_IFREG) return null;
    return {attr, layout: tx.layout(oid)!, inline: tx.inline(oid), parent: tx.parentOf(oid)};
  });
  if (found === null || found.inline.length > bytesLeft) return null;
  const {attr, layout, inline, parent} = found;
  if (parent === 0 || delegated(parts, c, parent)) return null;
  if (leases.table.writer(oid) !== 0) return null;
  const kept = cluster.used(layout);
  if (kept !== null) {
    // Whoever opens the file waits for it, and hears if it fails.
    kept.catch(() => {});
    return null;
  }
  const mode = leases.offer(c.session.id, oid, READ);
  if (mode === NONE) return null;
  return {
    // Who is going to write asks again.
    lease: {
      mode,
      attr,
      layout,
      inlineBytes: inline.length,
      directory: null,
      parts: [],
      overlong: overlong(parts, layout),
      copies: [],
    },
    inline,
  };
}
