import type {FuseAttr} from '../../src/core/door/fuse/structs.js';

/** A file or directory of MemoryFuse. `data` may be longer than `size`; what is beyond it is zeros. */
export class Node implements FuseAttr {
  size = 0;
  blocks = 0;
  atimeSec = 1;
  atimeNsec = 0;
  mtimeSec = 1;
  mtimeNsec = 0;
  ctimeSec = 1;
  ctimeNsec = 0;
  nlink = 1;
  rdev = 0;
  blksize = 4096;
  data = new Uint8Array(0);
  readonly names = new Map<string, Node>();
  /** References that the kernel has; its entries give them, FORGET takes them. */
  lookups = 0;
  constructor(
    readonly ino: number,
    public mode: number,
    public uid: number,
    public gid: number,
  ) {}

  resize(size: number): void {
    if (size > this.data.length) {
      const grown = new Uint8Array(Math.max(size, this.data.length * 2));
      grown.set(this.data.subarray(0, this.size));
      this.data = grown;
    }
    if (size < this.size) this.data.fill(0, size, this.size);
    this.setSize(size);
  }

  setSize(size: number): void {
    this.size = size;
    this.blocks = Math.ceil(size / 512);
  }
}

export const STATFS = {
  blocks: 1000,
  free: 600,
  available: 500,
  files: 100,
  filesFree: 50,
  bsize: 4096,
  namelen: 255,
};
