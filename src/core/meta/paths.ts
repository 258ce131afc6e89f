import {ROOT_OID} from '../base/ids.js';
import {OPS} from '../protocol/ops.js';
import type {Machine} from './machine.js';

/** Names that one listing looks at to find those of its objects: some ms of the meta server's time. */
const NAMES_MAX = 20_000;
const PAGE = 1000;
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
/** Longer ones are nothing for a line: PATH_MAX. */
const BYTES_MAX = 4096;
const NOTHING = new Uint8Array(0);

/** Paths for people, as far as they can be found by looking at few names. An inode knows its directory, not its name. */
export class Paths {
  readonly #machine: Machine;
  readonly #names = new Map<number, Uint8Array>();
  readonly #searched = new Set<number>();
  #left = NAMES_MAX;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** `/a/b` as bytes; empty: it has no name, or several in different directories, or it would take too long. */
  of(oid: number): Uint8Array {
    const parts: Uint8Array[] = [];
    let length = 0;
    for (let at = oid; at !== ROOT_OID; ) {
      const parent = this.#parent(at);
      const name = parent === 0 ? undefined : this.#name(parent, at);
      length += 1 + (name?.length ?? BYTES_MAX);
      if (name === undefined || length > BYTES_MAX) return NOTHING;
      parts.unshift(Buffer.from('/'), name);
      at = parent;
    }
    return parts.length === 0 ? Buffer.from('/') : Buffer.concat(parts);
  }

  #parent(oid: number): number {
    return this.#machine.read((tx) => {
      if (!tx.exists(oid)) return 0;
      const directory = (tx.attr(oid).mode & S_IFMT) === S_IFDIR;
      return directory ? (tx.part(oid)?.parent ?? 0) : tx.parentOf(oid);
    });
  }

  #name(parent: number, oid: number): Uint8Array | undefined {
    if (!this.#searched.has(parent)) this.#search(parent);
    return this.#names.get(oid);
  }

  #search(directory: number): void {
    this.#searched.add(directory);
    for (let cookie = 0; this.#left > 0; ) {
      const request = {oid: directory, cookie, maxEntries: PAGE, attributes: false};
      const {entries, end} = this.#machine.query(OPS.readdir, request);
      for (const entry of entries) this.#names.set(entry.oid, Uint8Array.from(entry.name));
      this.#left -= entries.length;
      if (end || entries.length === 0) return;
      cookie = entries.at(-1)!.cookie;
    }
  }
}
