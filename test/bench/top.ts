// What `cpfs top` costs: `npm run bench:top -- [--seconds N] [--servers N] [--clients N]`. It runs on a terminal of its own (script(1)) and asks a
// meta server that is none, of which all figures change each second.
import {spawn} from 'node:child_process';
import {readdirSync, readFileSync} from 'node:fs';
import {loadavg} from 'node:os';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {parseArgs} from 'node:util';
import {fakeMeta} from '../support/fake-meta.js';
import {ROOT} from '../support/source-tree.js';

const START_MS = 8_000;
const TICKS_PER_SECOND = 100;

const statOf = (pid: string): string[] => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
};

/** The process of ours that shows `meta`; not the one that gives it a terminal. */
function findTop(meta: string): string | undefined {
  return readdirSync('/proc').find((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return words.includes('top') && words.includes(meta);
    } catch {
      return false;
    }
  });
}

function looked(pid: string): {cpuSeconds: number; residentMiB: number} {
  const fields = statOf(pid);
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
    residentMiB: Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024,
  };
}

async function main(): Promise<void> {
  const {values} = parseArgs({
    options: {
      seconds: {type: 'string', default: '60'},
      servers: {type: 'string', default: '300'},
      clients: {type: 'string', default: '50'},
    },
  });
  const seconds = Number(values.seconds);
  const meta = await fakeMeta(Number(values.servers), Number(values.clients));
  const command = `stty rows 50 cols 160; exec ${join(ROOT, 'bin/cpfs')} top --meta ${meta.address}`;
  const env = {...process.env, TERM: 'xterm-256color', LANG: 'C.UTF-8'};
  const child = spawn('script', ['-qfc', command, '/dev/null'], {
    env,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let written = 0;
  let screen = '';
  child.stdout.on('data', (bytes: Buffer) => {
    written += bytes.length;
    if (screen.length < 100_000) screen += bytes.toString();
  });
  try {
    await delay(START_MS);
    const pid = findTop(meta.address);
    if (pid === undefined || !screen.includes('Servers'))
      throw new Error(`top does not run: ${screen.slice(0, 2000)}`);
    const before = looked(pid);
    const bytes = written;
    await delay(seconds * 1000);
    const after = looked(pid);
    const report = {
      servers: Number(values.servers),
      clients: Number(values.clients),
      seconds,
      cpuPercent: Number((((after.cpuSeconds - before.cpuSeconds) / seconds) * 100).toFixed(2)),
      residentMiB: [before, after].map((one) => Math.round(one.residentMiB)),
      terminalBytesPerSecond: Math.round((written - bytes) / seconds),
      load: loadavg()[0],
    };
    process.stdout.write(`${JSON.stringify(report)}\n`);
  } finally {
    child.stdin.write('q');
    child.stdin.end();
    await delay(500);
    child.kill('SIGKILL');
    await meta.close();
  }
}

await main();
process.exit(0);
