import {FsError} from '../../base/errors.js';
import type {Ms} from '../../base/ids.js';
import {IN_HEADER, ROOT_NODE} from './abi.js';
import type {RequestId} from './replies.js';
import {get64, nameLength} from './structs.js';

/** Longest name of a directory entry; longer ones are ENAMETOOLONG before anybody is asked. */
export const NAME_BYTES_MAX = 255;

/**
 * The request at hand. One object, moved from request to request: a handler reads what it needs before its first
 * `await`, because afterwards the cursor stands on another request and the slot may be gone.
 */
export class RequestCursor {
  /** Names the request in replies. */
  id: RequestId = 0;
  /** When it came. */
  arrived: Ms = 0;
  /** Pool slot that holds the request, and the offset of its control page. */
  slot = 0;
  control = 0;
  /** Word index of the header in `u32`. */
  at = 0;
  /** The object that is the kernel's root; of all others the node is the object. */
  root = ROOT_NODE;
  /** Set by a handler that has taken over the slot's reference. */
  kept = false;

  constructor(
    readonly u32: Uint32Array,
    readonly bytes: Buffer,
  ) {}

  get opcode(): number {
    return this.u32[this.at + IN_HEADER.opcode]!;
  }
  get nodeid(): number {
    return this.#node(this.at + IN_HEADER.nodeid);
  }
  /** The thread that asks. */
  get pid(): number {
    return this.u32[this.at + IN_HEADER.pid]!;
  }
  get caller(): {uid: number; gid: number} {
    return {uid: this.u32[this.at + IN_HEADER.uid]!, gid: this.u32[this.at + IN_HEADER.gid]!};
  }

  /** Word `index` of the operation's own structure. */
  arg(index: number): number {
    return this.u32[this.at + IN_HEADER.words + index]!;
  }
  arg64(index: number): number {
    return get64(this.u32, this.at + IN_HEADER.words + index);
  }
  /** A node in the operation's own structure. */
  argNode(index: number): number {
    return this.#node(this.at + IN_HEADER.words + index);
  }

  #node(at: number): number {
    const node = get64(this.u32, at);
    return node === ROOT_NODE ? this.root : node;
  }
  /** Index of such a word in `u32`. */
  argAt(index: number): number {
    return this.at + IN_HEADER.words + index;
  }

  /** Byte offset of what follows a structure of `words` words. */
  tail(words: number): number {
    return (this.at + IN_HEADER.words + words) * 4;
  }

  get end(): number {
    return this.at * 4 + this.u32[this.at + IN_HEADER.len]!;
  }

  /** A copy of the NUL-terminated string at byte `offset`. */
  text(offset: number): Buffer {
    const length = nameLength(this.bytes, offset, this.end);
    if (length < 0) throw new FsError('EINVAL', 'a name without an end');
    return Buffer.from(this.bytes.subarray(offset, offset + length));
  }

  /** The same for the name of an entry. */
  name(offset: number): Buffer {
    const name = this.text(offset);
    if (name.length > NAME_BYTES_MAX) throw new FsError('ENAMETOOLONG');
    return name;
  }
}
