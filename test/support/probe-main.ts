// A program that changes names and bytes without a pause, demands of each call exactly what it must give, and says how long calls took.
// Started by probe.ts with a folder of its own; ends at the end of its standard input.
import {
  appendFileSync,
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import {join} from 'node:path';

/** Calls that take longer are told of. */
const SLOW_MS = 500;
const REPORT_MS = 1000;

let ended = false;
process.stdin.on('end', () => {
  ended = true;
});
process.stdin.resume();

const folder = process.argv[2]!;
let calls = 0;
let reportedAt = performance.now();

const say = (line: object): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`);
};

function call<T>(name: string, run: () => T): T {
  const began = performance.now();
  const result = run();
  const ms = performance.now() - began;
  calls++;
  if (ms > SLOW_MS) say({slow: name, ms: Math.round(ms)});
  return result;
}

function demand(what: string, is: unknown, should: unknown): void {
  if (is !== should) throw new Error(`${what}: ${is}, not ${should}`);
}

/** Done twice, or not at all, each of these calls fails, or a later one. */
function round(number: number): void {
  const dir = join(folder, `d${number}`);
  const [file, link, renamed] = [join(dir, 'f'), join(dir, 'l'), join(dir, 'r')];
  call('mkdir', () => mkdirSync(dir));
  const text = `round ${number}\n`;
  const fd = call('create', () => openSync(file, 'wx'));
  call('write', () => writeSync(fd, text));
  call('fsync', () => fsyncSync(fd));
  closeSync(fd);
  call('append', () => appendFileSync(file, text));
  call('link', () => linkSync(file, link));
  demand(
    'links',
    call('stat', () => statSync(file).nlink),
    2,
  );
  call('rename', () => renameSync(link, renamed));
  demand(
    'content',
    call('read', () => readFileSync(renamed, 'utf8')),
    text + text,
  );
  call('unlink', () => unlinkSync(file));
  call('unlink', () => unlinkSync(renamed));
  call('rmdir', () => rmdirSync(dir));
}

try {
  for (let number = 0; !ended; number++) {
    round(number);
    if (performance.now() - reportedAt > REPORT_MS) {
      reportedAt = performance.now();
      say({calls});
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  say({calls});
} catch (error) {
  say({wrong: String(error)});
  process.exitCode = 1;
}
