import {createHash, randomBytes} from 'node:crypto';
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  writeFileSync,
} from 'node:fs';
import {dirname, join} from 'node:path';

/**
 * The kernel loads libraries from files only, so the native modules of an executable are written to a folder. Whoever can write
 * there could have his code run by us: so the folder and those above it must be ours or root's and closed to others, and what
 * lies there counts only if it is, byte for byte, what we would write.
 */

const OTHERS_WRITE = 0o022;
const STICKY = 0o1000;

/** Why others might change what is called `path`, or null. */
function unsafe(path: string, stat: Stats, uid: number): string | null {
  if (stat.uid !== uid && stat.uid !== 0)
    return `${path} belongs to user ${stat.uid}; it has to be yours or root's`;
  // In a folder such as /tmp nobody can rename what is not his.
  const sticky = stat.isDirectory() && (stat.mode & STICKY) !== 0;
  if ((stat.mode & OTHERS_WRITE) !== 0 && !sticky)
    return `${path} may be written by others; use: chmod go-w ${path}`;
  return null;
}

/** Makes the folder if need be (0700). Throws Error with a sentence if others could change what is in it. */
export function safeFolder(path: string, uid: number): string {
  mkdirSync(dirname(path), {recursive: true});
  if (!existsSync(path)) mkdirSync(path, {recursive: true, mode: 0o700});
  const real = realpathSync(path);
  const own = lstatSync(real);
  // In the folder itself others must not even make files.
  if ((own.mode & OTHERS_WRITE) !== 0)
    throw new Error(`${real} may be written by others; use: chmod go-w ${real}`);
  for (let folder = real; ; folder = dirname(folder)) {
    const reason = unsafe(folder, lstatSync(folder), uid);
    if (reason !== null) throw new Error(reason);
    if (folder === dirname(folder)) return real;
  }
}

const sum = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Is there a file that nobody else can change, with this sum? */
function isThere(path: string, expected: string, uid: number): boolean {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch {
    return false;
  }
  try {
    const stat = fstatSync(descriptor);
    return (
      stat.isFile() &&
      unsafe(path, stat, uid) === null &&
      sum(readFileSync(descriptor)) === expected
    );
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Puts files into a folder of their own below `cache`, named by what is in all of them, unless they are there; returns that folder.
 * Folders of other releases go: who has loaded their files keeps them.
 */
export function unpack(
  cache: string,
  files: ReadonlyMap<string, Uint8Array>,
  uid: number = process.getuid!(),
): string {
  const root = safeFolder(cache, uid);
  const sums = new Map([...files].map(([name, bytes]) => [name, sum(bytes)]));
  const name = `native-${sum(Buffer.from(JSON.stringify([...sums]))).slice(0, 32)}`;
  const folder = safeFolder(join(root, name), uid);
  const missing = [...files].filter(([file]) => !isThere(join(folder, file), sums.get(file)!, uid));
  for (const [file, bytes] of missing) {
    const aside = join(folder, `.${file}.${randomBytes(8).toString('hex')}`);
    writeFileSync(aside, bytes, {flag: 'wx', mode: 0o500});
    chmodSync(aside, 0o500);
    renameSync(aside, join(folder, file));
  }
  if (missing.length > 0) {
    for (const other of readdirSync(root))
      if (other.startsWith('native-') && other !== name)
        rmSync(join(root, other), {recursive: true, force: true});
  }
  return folder;
}
