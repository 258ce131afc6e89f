import {type ChildProcess, execFile, spawn} from 'node:child_process';
import {existsSync, mkdtempSync, rmdirSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {DeviceFuseChannel} from '../../src/core/os/fuse-channel.js';
import {mountedOn, mountFuse, unmount} from '../../src/core/os/mount-point.js';
import {MEMORY_BYTES, MemoryFuse, type MemoryFuseOptions} from './memory-fuse.js';

const here = dirname(fileURLToPath(import.meta.url));
const WATCHDOG_SECONDS = 50;

/** Fails, and does not skip, where no mount can be made: what is not tried is not known to work. */
export function requireFuse(): void {
  if (!existsSync('/dev/fuse')) {
    throw new Error(
      '/dev/fuse is missing: these tests mount a file system and need a machine that has FUSE',
    );
  }
  if (process.getuid?.() !== 0)
    throw new Error('these tests mount with mount(2): run them as root');
}

/** Runs one operation of fuse-child.js in a process of its own. */
export function child<T = Record<string, unknown>>(...args: string[]): Promise<T> {
  return new Promise((done, fail) => {
    execFile(process.execPath, [join(here, 'fuse-child.js'), ...args], (error, stdout) => {
      if (error !== null) fail(error);
      else done(JSON.parse(stdout) as T);
    });
  });
}

/**
 * A process that aborts this one connection after 50 s: when the serving thread hangs nothing in it can help, and the
 * callers cannot be killed.
 */
export function watchdog(minor: number): ChildProcess {
  const at = '/sys/fs/fuse/connections';
  const script = `exec 2>/dev/null; read -t ${WATCHDOG_SECONDS} x && exit; [ -e ${at}/${minor} ] || mount -t fusectl fusectl ${at}; echo 1 > ${at}/${minor}/abort`;
  const dog = spawn('bash', ['-c', script], {stdio: ['pipe', 'ignore', 'ignore']});
  dog.stdin.on('error', () => {}); // It has bitten, and the test has failed for another reason.
  return dog;
}

export function tempDir(): string {
  return mkdtempSync(join(tmpdir(), 'cpfs-fuse-'));
}

export interface Served {
  dir: string;
  minor: number;
  fs: MemoryFuse;
  channel: DeviceFuseChannel;
  /** Unmounts, waits for the end, closes, removes the folder. */
  stop(): Promise<number>;
}

/** Mounts a memory file system on a new folder, served by this process. */
export async function serve(options: MemoryFuseOptions & {helper?: boolean} = {}): Promise<Served> {
  requireFuse();
  const dir = tempDir();
  const {device} = await mountFuse({
    dir,
    source: 'cpfs-test',
    allowOther: true,
    defaultPermissions: true,
    maxReadBytes: 1 << 20,
    noSuid: true,
    noDev: true,
    noExec: false,
    helper: options.helper,
  });
  const memory = new ArrayBuffer(MEMORY_BYTES);
  const channel = new DeviceFuseChannel(device, memory);
  const minor = (await mountedOn(dir))!.minor;
  const dog = watchdog(minor);
  const fs = new MemoryFuse(channel, memory, options);
  const stop = async (): Promise<number> => {
    for (const ticket of fs.blocked.splice(0)) channel.replyError(ticket, 5); // Of a test that has failed.
    const problem = await unmount(dir, {lazy: true});
    if (problem !== null) throw new Error(problem);
    const errno = await fs.finished;
    channel.close();
    channel.close(); // Twice is nothing.
    dog.stdin!.end('\n');
    await new Promise((exit) => dog.once('close', exit));
    rmdirSync(dir);
    return errno;
  };
  return {dir, minor, fs, channel, stop};
}
