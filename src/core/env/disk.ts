/**
 * A folder of files on a local file system. Paths are relative, with `/`, and never leave the folder. All data
 * moves between files and pool memory (the pool that the process uses); small things move as Uint8Array.
 * Failures are FsError with the errno of the system call.
 */
export interface Disk {
  /** Opens for reading and writing; `create` makes it, and its folders, when missing (else ENOENT). */
  open(path: string, create: boolean): Promise<DiskFile>;
  /** Whole small file, or null if it is not there. */
  readFile(path: string): Promise<Uint8Array | null>;
  /** Replaces a small file atomically and durably (write aside, fsync, rename, fsync of the folder). */
  writeFile(path: string, bytes: Uint8Array): Promise<void>;
  /** True if it was there. Not durable before the next `syncAll`. */
  remove(path: string): Promise<boolean>;
  /** Removes everything below a path; a missing one is nothing. */
  removeTree(path: string): Promise<void>;
  /** Names in a folder, in order, without `.` and `..`; empty if it is not there. */
  list(path: string): Promise<string[]>;
  /** Everything written so far through this Disk is on stable storage (syncfs). */
  syncAll(): Promise<void>;
  space(): Promise<{totalBytes: number; freeBytes: number; files: number; filesFree: number}>;
  /** Names the time since the machine was started: what was written in an earlier one, and not synced, may be gone. */
  machineLife(): Promise<string>;
  /** Appends to a journal; created when missing. */
  journal(path: string): Promise<Journal>;
  /** Exclusive use of the folder by this process until `close`; FsError EBUSY if another has it. */
  lock(): Promise<void>;
  close(): Promise<void>;
}

/** One step of a batch: data between a file and pool memory. Offsets and lengths in bytes. */
export interface DiskRange {
  fileOffset: number;
  memoryOffset: number;
  length: number;
}

export interface DiskFile {
  /** Bytes up to the last one written. Holes and what lies beyond read as zeros. */
  size(): Promise<number>;
  /** All ranges, in order. What lies beyond the end of the file is zeros, not an error. */
  read(ranges: readonly DiskRange[]): Promise<void>;
  /** All ranges, in order; on failure the ones before the failing one have been written. */
  write(ranges: readonly DiskRange[]): Promise<void>;
  /** Frees the space of [offset, offset + length): it reads as zeros; the size stays. */
  punch(offset: number, length: number): Promise<void>;
  truncate(size: number): Promise<void>;
  /** fdatasync. */
  sync(): Promise<void>;
  /** Bytes of disk in use. */
  allocated(): Promise<number>;
  close(): Promise<void>;
}

/** An append-only file. `append` reaches the operating system before it returns, so it survives the death of the process. */
export interface Journal {
  readonly size: number;
  append(bytes: Uint8Array): void;
  /** What was appended before the call is on stable storage. Concurrent calls share one sync. */
  sync(): Promise<void>;
  /** The whole content; the tail may be torn after a power cut. */
  read(): Promise<Uint8Array>;
  truncate(size: number): Promise<void>;
  close(): Promise<void>;
}
