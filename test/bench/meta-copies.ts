// The other halves of the benchmark of the meta server's machine (meta-machine.ts): a server that others copy, over TCP; and who copies it.
import {mkdirSync} from 'node:fs';
import {join} from 'node:path';
import {monitorEventLoopDelay} from 'node:perf_hooks';
import {silentLog} from '../../src/core/env/log.js';
import {MetaServer} from '../../src/core/meta/server.js';
import {Standby} from '../../src/core/meta/standby.js';
import {keepHeapSmall} from '../../src/roles/lifecycle.js';
import {backup} from '../../src/roles/meta/backup.js';
import {compact} from '../../src/roles/meta/compact.js';
import {serverEnv} from '../../src/roles/real-env.js';
import {FORMAT} from '../support/meta.js';
import {type Figures, memoryNow} from './meta-tree.js';

const POOL = {small: 256, medium: 32, large: 16};
const LOOK_MS = 20;

/** Prints where it listens; then, for each line that it is given, the longest hold of its event loop since the last one. */
export async function serve(folder: string): Promise<void> {
  const env = await serverEnv(silentLog, POOL, join(folder, 'meta'), {store: true});
  const server = new MetaServer(env, {
    address: '127.0.0.1:0',
    rootLayout: FORMAT.rootLayout,
    groupSize: FORMAT.groupSize,
    backtraces: {inline: true},
    onFailed: (error) => {
      throw error;
    },
    reign: {
      term: 2,
      valid: true,
      self: {node: 'active', life: 'x'},
      set: {change: () => Promise.resolve()},
      onDeposed: (error) => {
        throw error;
      },
    },
  });
  await server.start();
  const hold = monitorEventLoopDelay({resolution: 1});
  hold.enable();
  console.log(server.address);
  for await (const _ of process.stdin) {
    console.log(JSON.stringify({holdMs: hold.max / 1e6, ...memoryNow()}));
    hold.reset();
  }
  await server.stop();
  await env.kv.close();
}

/** Until it has everything. */
export async function follow(folder: string, address: string): Promise<Figures> {
  keepHeapSmall();
  const env = await serverEnv(silentLog, POOL, join(folder, 'standby'), {store: true});
  const standby = new Standby(env, {
    self: {node: 'standby', life: 'y'},
    address: '127.0.0.1:1',
    onFailed: (error) => {
      throw error;
    },
    term: () => {},
  });
  await standby.open();
  const cpu = process.cpuUsage();
  const began = performance.now();
  let peakAnonMiB = 0;
  let peakHeapMiB = 0;
  standby.follow(address);
  while (standby.copies === 0 || !standby.inSync) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    const {anonMiB, heapMiB} = memoryNow();
    peakAnonMiB = Math.max(peakAnonMiB, anonMiB);
    peakHeapMiB = Math.max(peakHeapMiB, heapMiB);
  }
  const seconds = (performance.now() - began) / 1000;
  const {user, system} = process.cpuUsage(cpu);
  await standby.close();
  await env.kv.close();
  return {seconds, cpuSeconds: (user + system) / 1e6, peakAnonMiB, peakHeapMiB};
}

export async function backupFrom(folder: string, address: string, full: boolean): Promise<Figures> {
  const into = join(folder, 'backup');
  mkdirSync(into, {recursive: true});
  const report = await backup({
    folder: into,
    metas: address,
    full,
    keep: 1,
    timeoutMs: 60_000,
  });
  if ((report.kind === 'full') !== full) throw new Error(`the backup is ${report.kind}`);
  return {seconds: report.tookMs / 1000, bytes: report.bytes, ...memoryNow()};
}

export async function compacted(folder: string): Promise<Figures> {
  const began = performance.now();
  const {store} = await compact(join(folder, 'meta'));
  const seconds = (performance.now() - began) / 1000;
  return {seconds, before: store.before, after: store.after, ...memoryNow()};
}
