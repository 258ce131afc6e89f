// CPU and wall time of the meta server's operations in one process, without network: LMDB and the log on a real folder.
// usage: node dist/test/bench/meta-machine.js [files] [folder]
import {
  closeSync,
  fdatasync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {monitorEventLoopDelay} from 'node:perf_hooks';
import {promisify} from 'node:util';
import {ROOT_OID} from '../../src/core/base/ids.js';
import type {Disk, Journal} from '../../src/core/env/disk.js';
import {silentLog} from '../../src/core/env/log.js';
import {Machine} from '../../src/core/meta/machine.js';
import {LmdbKv} from '../../src/core/os/kv-lmdb.js';
import {OPS} from '../../src/core/protocol/ops.js';
import {bytes, FORMAT, whole} from '../support/meta.js';
import {realClock} from '../support/real-clock.js';

/** Only journals, which are all that the machine uses of a disk that is not damaged. */
function journals(root: string): Pick<Disk, 'journal' | 'list' | 'remove'> {
  mkdirSync(join(root, 'log'), {recursive: true});
  return {
    list: async () => readdirSync(join(root, 'log')),
    remove: async (path) => {
      rmSync(join(root, path));
      return true;
    },
    journal: async (path): Promise<Journal> => {
      const fd = openSync(join(root, path), 'a+');
      let size = fstatSync(fd).size;
      return {
        get size() {
          return size;
        },
        append(record) {
          writeSync(fd, record);
          size += record.length;
        },
        sync: () => promisify(fdatasync)(fd),
        read: async () => readFileSync(join(root, path)),
        truncate: () => Promise.reject(new Error('a log that nobody tore')),
        close: async () => closeSync(fd),
      };
    },
  };
}

const files = Number(process.argv[2] ?? 50_000);
const folder = mkdtempSync(join(process.argv[3] ?? tmpdir(), 'cpfs-bench-'));
const env = {
  clock: realClock,
  disk: journals(folder) as Disk,
  kv: await LmdbKv.open(join(folder, 'kv')),
  log: silentLog,
};
const open = (): Promise<Machine> =>
  Machine.open(env, {
    format: FORMAT,
    onApplied: () => {},
    onFailed: (error) => {
      throw error;
    },
  });

async function measure(what: string, count: number, run: () => Promise<void> | void) {
  const cpu = process.cpuUsage();
  const start = performance.now();
  await run();
  const wall = (performance.now() - start) * 1000;
  const used = process.cpuUsage(cpu);
  const each = (us: number): string => (us / count).toFixed(2).padStart(8);
  console.log(`${what.padEnd(34)}${each(wall)} us wall ${each(used.user + used.system)} us CPU`);
}

let machine = await open();
const stall = monitorEventLoopDelay({resolution: 1});
const session = await machine.createSession(bytes('bench'));
const caller = {uid: 1, gid: 1};
const DIRECTORIES = 50;
const request = whole(OPS.create, {mode: 0o644, caller, exclusive: true});
const parents: number[] = [];
for (let i = 0; i < DIRECTORIES; i++) {
  const one = {...request, parent: ROOT_OID, name: bytes(`d${i}`), mode: 0o755};
  parents.push(
    (await machine.submit(OPS.mkdir, {session, requestId: i + 1, request: one})).reply.attr!.oid,
  );
}
const names = Array.from({length: files}, (_, i) => bytes(`some-file-name-${i}.txt`));
const oids: number[] = [];
const parentOf = (i: number): number => parents[i % DIRECTORIES]!;

const create = async (i: number): Promise<void> => {
  const one = {...request, parent: parentOf(i), name: names[i]!};
  const command = {session, requestId: 1000 + i, request: one, groups: [1, 2]};
  oids[i] = (await machine.submit(OPS.create, command)).reply.attr.oid;
};
stall.enable();
await measure('create, 64 at once', files, async () => {
  for (let i = 0; i < files; i += 64) {
    if (i % 1024 === 0) await new Promise((resolve) => setImmediate(resolve));
    await Promise.all(Array.from({length: Math.min(64, files - i)}, (_, j) => create(i + j)));
  }
});
stall.disable();
console.log(`longest hold of the event loop: ${(stall.max / 1e6).toFixed(1)} ms`);
const reads = (): void => {
  for (let i = 0; i < files; i++) machine.query(OPS.lookup, {parent: parentOf(i), name: names[i]!});
};
await measure('lookup', files, reads);
await measure('getattr', files, () => {
  for (const oid of oids) machine.query(OPS.getattr, {oid});
});
for (const attributes of [false, true]) {
  await measure(`readdir entry, attributes ${attributes}`, files, () => {
    for (const oid of parents) {
      for (let cookie = 0; ; ) {
        const page = machine.query(OPS.readdir, {oid, cookie, maxEntries: 1000, attributes});
        if (page.end) break;
        cookie = page.entries.at(-1)!.cookie;
      }
    }
  });
}
await machine.close();
const used = statSync(join(folder, 'kv', 'data.mdb')).blocks * 512;
console.log(`${(used / files).toFixed(0)} bytes of LMDB per file`);
machine = await open();
await measure('lookup, all in LMDB', files, reads);
await measure('getattr, all in LMDB', files, () => {
  for (const oid of oids) machine.query(OPS.getattr, {oid});
});
await measure('setattr, 1 at once', 5000, async () => {
  for (let i = 0; i < 5000; i++) {
    const one = whole(OPS.setattr, {oid: oids[i % files]!, mask: 1, mode: 0o600});
    await machine.submit(OPS.setattr, {session, requestId: 1e7 + i, request: one});
  }
});
await measure('create and sync, 1 at once', 500, async () => {
  for (let i = 0; i < 500; i++) {
    const one = {...request, parent: parents[0]!, name: bytes(`durable${i}`)};
    const command = {session, requestId: 2e7 + i, request: one, groups: [1]};
    await machine.submit(OPS.create, command);
    await machine.sync();
  }
});
await measure('unlink, 64 at once', files, async () => {
  for (let i = 0; i < files; i += 64) {
    const batch = Array.from({length: Math.min(64, files - i)}, (_, j) => i + j);
    const unlink = (k: number) => ({parent: parentOf(k), name: names[k]!, directory: false});
    await Promise.all(
      batch.map((k) =>
        machine.submit(OPS.unlink, {session, requestId: 3e7 + k, request: unlink(k)}),
      ),
    );
  }
});
await machine.close();
await env.kv.close();
rmSync(folder, {recursive: true});
