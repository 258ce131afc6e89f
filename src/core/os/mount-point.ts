import {execFile, spawn} from 'node:child_process';
import {constants} from 'node:fs';
import {access, readFile, realpath, stat, writeFile} from 'node:fs/promises';
import {basename, dirname, join, resolve} from 'node:path';
import {fuseNative} from './fuse-native.js';

/**
 * Mounting and what surrounds it. Nothing here touches a mounted path from this process: a process that serves a
 * mount must never wait for it, so such calls are made by a child, with a bound.
 */

export const FUSE_TYPE = 'fuse.cpfs';
const FUSECTL = '/sys/fs/fuse/connections';
const PROBE_MS = 5_000;
/** A mount whose process does not answer must not hold up whoever unmounts it. */
const UNMOUNT_MS = 20_000;
/** Of a program that is not there, as shells have it. */
const NOT_FOUND = 127;
const MS_NOSUID = 2;
const MS_NODEV = 4;
const MS_NOEXEC = 8;

/** Cannot mount; the message is a sentence for the person who tried. */
export class MountError extends Error {
  override readonly name = 'MountError';
  constructor(
    readonly errno: number,
    message: string,
  ) {
    super(message);
  }
}

export interface MountOptions {
  dir: string;
  /** What df and mount show as the device. */
  source: string;
  /** Other users may use the mount; without root it needs user_allow_other in /etc/fuse.conf. */
  allowOther: boolean;
  /** The kernel checks modes and owners. */
  defaultPermissions: boolean;
  maxReadBytes: number;
  /** Set-id programs and device nodes are ignored. Without root it is so anyway. */
  noSuid: boolean;
  noDev: boolean;
  /** Programs on it are not run. */
  noExec: boolean;
  /** Mount through fusermount3 even as root. */
  helper?: boolean;
}

export interface Mounted {
  /** The device; give it to a channel, which closes it. */
  device: number;
  dir: string;
  /** 'direct': mount(2) by us; 'helper': fusermount3. Unmounting goes the same way. */
  by: 'direct' | 'helper';
}

interface Ran {
  code: number | null;
  stderr: string;
  stdout: string;
  timedOut: boolean;
}

/** Runs a program with untranslated messages. Does not wait longer than `boundMs`, not even for a child that cannot be killed. */
function run(program: string, args: readonly string[], boundMs: number): Promise<Ran> {
  return new Promise((done) => {
    const env = {PATH: process.env.PATH ?? '/usr/bin:/bin:/usr/sbin:/sbin', LC_ALL: 'C'};
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      // One that the kernel does not let go must not keep this process.
      child.stdout?.destroy();
      child.stderr?.destroy();
      child.unref();
      done({code: null, stdout: '', stderr: '', timedOut: true});
    }, boundMs);
    const child = execFile(program, args, {env}, (error, stdout, stderr) => {
      clearTimeout(timer);
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : NOT_FOUND;
      done({
        code,
        stdout,
        stderr: error === null ? stderr : stderr || error.message,
        timedOut: false,
      });
    });
  });
}

/** The path as the kernel's table has it. Looks at the folder above only: the mount itself may be dead. */
export async function mountPath(dir: string): Promise<string> {
  const path = resolve(dir);
  try {
    return join(await realpath(dirname(path)), basename(path));
  } catch {
    return path;
  }
}

export interface MountEntry {
  dir: string;
  type: string;
  source: string;
  /** Of its device number; for FUSE also that of its connection. */
  minor: number;
}

/** What this process sees mounted, from the kernel's table and not by touching it. Where mounts lie on each other the last is on top. */
export async function mountEntries(): Promise<MountEntry[]> {
  const plain = (text: string) =>
    text.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));
  const entries: MountEntry[] = [];
  for (const line of (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')) {
    // 36 35 0:98 / /mnt/point rw,noatime shared:1 - fuse.cpfs source rw: proc_pid_mountinfo(5).
    const [head, tail] = line.split(' - ');
    if (head === undefined || tail === undefined) continue;
    const fields = head.split(' ');
    const [type, source] = tail.split(' ') as [string, string];
    const minor = Number(fields[2]!.split(':')[1]);
    entries.push({dir: plain(fields[4]!), type, source: plain(source), minor});
  }
  return entries;
}

/** What is mounted on `dir`, on top of whatever else is. */
export async function mountedOn(dir: string): Promise<MountEntry | null> {
  const path = await mountPath(dir);
  return (await mountEntries()).findLast((m) => m.dir === path) ?? null;
}

/**
 * 'none': no FUSE is mounted there. 'alive': it answers. 'dead': its server is gone (ENOTCONN). 'stuck': no answer
 * within the bound, so a server holds the device but does not serve.
 */
export type MountState = 'none' | 'alive' | 'dead' | 'stuck';

export async function probeMount(dir: string, boundMs = PROBE_MS): Promise<MountState> {
  const mount = await mountedOn(dir);
  if (mount === null || !mount.type.startsWith('fuse')) return 'none';
  // What the kernel has cached it tells of a dead one, too.
  const how = ['-c', '%d', '--', resolve(dir)];
  let look = await run('stat', ['--cached=never', ...how], boundMs);
  if (look.stderr.includes('--cached')) look = await run('stat', how, boundMs);
  if (look.timedOut) return 'stuck';
  // The second is said to whoever asks while it goes.
  const gone = ['Transport endpoint is not connected', 'Software caused connection abort'];
  if (gone.some((text) => look.stderr.includes(text))) return 'dead';
  return 'alive'; // Also when stat is refused: somebody has answered.
}

/** Unmounts what a server that is gone left behind. Returns what was there; only 'dead' has been changed. */
export async function cleanDeadMount(dir: string): Promise<MountState> {
  // Mounts stack; each layer may be a dead one.
  let first: MountState | undefined;
  for (let layer = 0; layer < 16; layer++) {
    const state = await probeMount(dir);
    first ??= state;
    if (state !== 'dead') return first;
    const problem = await unmount(dir, {lazy: true});
    if (problem !== null) throw new MountError(5, problem);
  }
  return first ?? 'none';
}

/**
 * Detaches the mount, where `lazy` also while it is in use; null, or why not. It is another process that does it, because the
 * kernel may write dirty pages back through us meanwhile: keep serving until the channel says that it has ended.
 */
export async function unmount(dir: string, how: {lazy: boolean}): Promise<string | null> {
  const path = await mountPath(dir);
  // -i -c: no helper program and no look at the path, which may be dead.
  const [program, ...args] =
    process.getuid?.() === 0
      ? ['umount', '-i', '-c', ...(how.lazy ? ['-l'] : []), path]
      : ['fusermount3', how.lazy ? '-uz' : '-u', '--', path];
  let done = await run(program!, args, UNMOUNT_MS);
  // That of libfuse 2, where there is no other one.
  if (done.code === NOT_FOUND && program === 'fusermount3')
    done = await run('fusermount', args, UNMOUNT_MS);
  if (done.code === 0) return null;
  if (done.timedOut) return `${program} ${path} does not return`;
  return done.stderr.trim().split('\n')[0] || `${program} ${path} failed`;
}

/**
 * Aborts the connection with this device number: each waiting caller gets an error. Only for a mount of our own, and
 * the last resort. Mounts fusectl at its usual place if the system has not. False: not there, or not allowed.
 */
export async function abortConnection(minor: number): Promise<boolean> {
  const abort = async (): Promise<boolean> => {
    try {
      await writeFile(`${FUSECTL}/${minor}/abort`, '1');
      return true;
    } catch {
      return false;
    }
  };
  if (await abort()) return true;
  if (process.getuid?.() !== 0 || (await mountedOn(FUSECTL)) !== null) return false;
  await run('mount', ['-t', 'fusectl', 'fusectl', FUSECTL], PROBE_MS);
  return abort();
}

/** Sets how far the kernel reads ahead on this mount. Best effort: only root may, and only where sysfs is. */
export async function setReadAhead(minor: number, bytes: number): Promise<boolean> {
  try {
    await writeFile(`/sys/class/bdi/0:${minor}/read_ahead_kb`, String(Math.floor(bytes / 1024)));
    return true;
  } catch {
    return false;
  }
}

function optionText(o: MountOptions, direct: boolean): string {
  const parts: string[] = [];
  if (direct) {
    parts.push('rootmode=40000', `user_id=${process.getuid!()}`, `group_id=${process.getgid!()}`);
  } else {
    parts.push(`fsname=${o.source.replace(/[,\\]/g, '\\$&')}`, 'subtype=cpfs');
    if (o.noSuid) parts.push('nosuid');
    if (o.noDev) parts.push('nodev');
    if (o.noExec) parts.push('noexec');
  }
  if (o.defaultPermissions) parts.push('default_permissions');
  if (o.allowOther) parts.push('allow_other');
  parts.push(`max_read=${o.maxReadBytes}`);
  return parts.join(',');
}

// What mount(2) and opening /dev/fuse are refused with, and what helps.
const REASON: Record<number, string> = {
  1: 'the kernel does not permit it; the process needs CAP_SYS_ADMIN (in a container: --privileged)',
  2: 'the folder is not there; create it first',
  6: 'the device /dev/fuse has no driver; load it with: modprobe fuse',
  13: '/dev/fuse or the folder may not be opened; check their modes',
  16: 'the folder is busy; another program has it mounted',
  19: 'the kernel has no FUSE; load it with: modprobe fuse',
  20: 'it is no folder; name a folder that is empty',
};

async function mountDirect(o: MountOptions, dir: string): Promise<number> {
  const flags = (o.noSuid ? MS_NOSUID : 0) | (o.noDev ? MS_NODEV : 0) | (o.noExec ? MS_NOEXEC : 0);
  const text = optionText(o, true);
  const result = await new Promise<number>((done) => {
    fuseNative().mount(dir, FUSE_TYPE, o.source, flags, text, done);
  });
  if (result >= 0) return result;
  throw new MountError(-result, `cannot mount on ${dir}: ${REASON[-result] ?? `errno ${-result}`}`);
}

/** fusermount3 is set-user-id root: it mounts for us and sends the device through the socket that _FUSE_COMMFD names. */
async function mountByHelper(o: MountOptions, dir: string): Promise<number> {
  const native = fuseNative();
  const pair = native.socketPair();
  if (typeof pair === 'number') throw new MountError(-pair, `no socket pair: errno ${-pair}`);
  const [ours, theirs] = pair;
  try {
    const stderr = await new Promise<string>((done, fail) => {
      const child = spawn('fusermount3', ['-o', optionText(o, false), '--', dir], {
        stdio: ['ignore', 'ignore', 'pipe', theirs],
        env: {...process.env, _FUSE_COMMFD: '3', LC_ALL: 'C'},
      });
      const said: string[] = [];
      child.stderr!.setEncoding('utf8').on('data', (text: string) => said.push(text));
      child.on('error', () =>
        fail(
          new MountError(2, 'fusermount3 is not here; install the package fuse3 or mount as root'),
        ),
      );
      child.on('close', () => done(said.join('').trim()));
    });
    const device = native.receiveDescriptor(ours);
    if (device >= 0) return device;
    throw new MountError(-device, stderr || `fusermount3 sent no device (errno ${-device})`);
  } finally {
    native.closeDescriptor(ours);
    native.closeDescriptor(theirs);
  }
}

/**
 * Mounts on an existing folder. Root mounts by itself, others through fusermount3. Throws MountError. Call
 * cleanDeadMount first: what is dead or stuck there would be touched.
 */
export async function mountFuse(options: MountOptions): Promise<Mounted> {
  const dir = await realpath(options.dir).catch((error: NodeJS.ErrnoException) => {
    const errno = -(error.errno ?? -5);
    throw new MountError(
      errno,
      `cannot mount on ${options.dir}: ${REASON[errno] ?? error.message}`,
    );
  });
  if (!(await stat(dir)).isDirectory()) {
    throw new MountError(20, `cannot mount on ${dir}: ${REASON[20]}`);
  }
  try {
    await access('/dev/fuse', constants.F_OK);
  } catch {
    throw new MountError(
      2,
      '/dev/fuse is missing; load the kernel module (modprobe fuse), in a container add the device',
    );
  }
  const direct = process.getuid?.() === 0 && options.helper !== true;
  const device = direct ? await mountDirect(options, dir) : await mountByHelper(options, dir);
  return {device, dir, by: direct ? 'direct' : 'helper'};
}
