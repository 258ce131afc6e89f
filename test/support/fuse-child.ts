// What a test does to a mount, in a process that does not serve it. usage: fuse-child.js OPERATION ARGUMENT...
// Prints one line of JSON; an error of the file system is {"error": CODE}.
import {createHash, randomBytes} from 'node:crypto';
import fs from 'node:fs';

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const MIB = 1 << 20;

function timed(seconds: number, step: (i: number) => void): {perSecond: number; count: number} {
  const start = process.hrtime.bigint();
  let count = 0;
  let elapsed = 0;
  while (elapsed < seconds) {
    for (let i = 0; i < 16; i++) step(count++);
    elapsed = Number(process.hrtime.bigint() - start) / 1e9;
  }
  return {perSecond: count / elapsed, count};
}

const operations: Record<string, (...args: string[]) => unknown> = {
  /** Names, contents, sizes and renames in an empty folder. */
  tour(dir) {
    fs.mkdirSync(`${dir}/sub`);
    fs.writeFileSync(`${dir}/sub/a`, 'hello');
    fs.appendFileSync(`${dir}/sub/a`, ' world');
    fs.renameSync(`${dir}/sub/a`, `${dir}/b`);
    const stat = fs.statSync(`${dir}/b`);
    fs.truncateSync(`${dir}/b`, 5);
    fs.utimesSync(`${dir}/b`, new Date(5000), new Date(-7500)); // Before 1970.
    let missing = '';
    try {
      fs.statSync(`${dir}/sub/a`);
    } catch (e) {
      missing = (e as NodeJS.ErrnoException).code ?? '';
    }
    const names = fs.readdirSync(dir!).sort();
    const result = {
      names,
      size: stat.size,
      regular: stat.isFile(),
      text: fs.readFileSync(`${dir}/b`, 'utf8'),
      mtime: fs.statSync(`${dir}/b`).mtimeMs,
      missing,
      free: fs.statfsSync(dir!).bfree,
    };
    fs.unlinkSync(`${dir}/b`);
    fs.rmdirSync(`${dir}/sub`);
    return {...result, left: fs.readdirSync(dir!)};
  },
  /** Writes `count` MiB in 1 MiB calls, reads them back; the two digests. */
  bulk(path, count) {
    const wrote = createHash('sha256');
    const fd = fs.openSync(path!, 'w+');
    for (let i = 0; i < Number(count); i++) {
      const block = randomBytes(MIB);
      wrote.update(block);
      fs.writeSync(fd, block, 0, MIB, i * MIB);
    }
    const read = createHash('sha256');
    const into = Buffer.alloc(MIB);
    for (let i = 0; i < Number(count); i++) {
      read.update(into.subarray(0, fs.readSync(fd, into, 0, MIB, i * MIB)));
    }
    fs.closeSync(fd);
    return {wrote: wrote.digest('hex'), read: read.digest('hex')};
  },
  read: (path) => ({text: fs.readFileSync(path!, 'utf8')}),
  sum: (path) => ({sum: sha256(fs.readFileSync(path!))}),
  write(path, text) {
    fs.writeFileSync(path!, text!);
    return {};
  },
  list: (dir) => ({names: fs.readdirSync(dir!)}),
  exists: (path) => ({exists: fs.existsSync(path!)}),
  names(dir, count) {
    for (let i = 0; i < Number(count); i++) fs.writeFileSync(`${dir}/name-${i}`, '');
    return {listed: fs.readdirSync(dir!).filter((n) => n.startsWith('name-')).length};
  },
  stats(path, seconds) {
    return timed(Number(seconds), () => fs.statSync(path!));
  },
  creates(dir, seconds) {
    return timed(Number(seconds), (i) =>
      fs.closeSync(fs.openSync(`${dir}/c${process.pid}-${i}`, 'wx')),
    );
  },
  writes(path, seconds, bytes) {
    const block = Buffer.alloc(Number(bytes), 7);
    const fd = fs.openSync(path!, 'w');
    const result = timed(Number(seconds), (i) =>
      fs.writeSync(fd, block, 0, block.length, (i % 64) * block.length),
    );
    fs.closeSync(fd);
    return result;
  },
  reads(path, seconds, bytes) {
    const block = Buffer.alloc(Number(bytes));
    const fd = fs.openSync(path!, 'r');
    const result = timed(Number(seconds), (i) =>
      fs.readSync(fd, block, 0, block.length, (i % 64) * block.length),
    );
    fs.closeSync(fd);
    return result;
  },
};

const [name, ...rest] = process.argv.slice(2);
let result: unknown;
try {
  result = operations[name!]!(...rest);
} catch (e) {
  result = {error: (e as NodeJS.ErrnoException).code ?? String(e)};
}
process.stdout.write(`${JSON.stringify(result)}\n`);
