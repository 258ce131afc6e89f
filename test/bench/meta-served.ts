// The part of the benchmark of the meta server (meta-machine.ts) that clients see: `cpfs meta start` on the folder, data servers beside it, and one client
// over TCP with `AT_ONCE` requests at a time, each of any file.
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {GROUP} from '../../src/core/cluster/map.js';
import {silentLog} from '../../src/core/env/log.js';
import {OPS, type Op} from '../../src/core/protocol/ops.js';
import {Handlers} from '../../src/core/transport/handlers.js';
import {Peer} from '../../src/core/transport/peer.js';
import {clientEnv} from '../../src/roles/real-env.js';
import {bytes, FORMAT} from '../support/meta.js';
import {RoleProcess} from '../support/releases.js';
import {ROOT} from '../support/source-tree.js';
import {directoryOf, type Figures, nameOf, oidOf, pick, readTree} from './meta-tree.js';

const AT_ONCE = 64;
const READS = 100_000;
const CHANGES = 20_000;
const BEAT_MS = 1_000;
const CALL_MS = 60_000;
const READY_MS = 60_000;
const SETTLE_MS = 900_000;
/** Of a core. */
const IDLE = 0.1;
const TICKS_PER_SECOND = 100;
const CPFS = join(ROOT, 'bin/cpfs');
const caller = {uid: 1000, gid: 1000};

/** Seconds of CPU time of all its threads until now. */
function cpuSecondsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** A client that asks the meta server itself, and keeps nothing. */
class Asker {
  readonly #peer: Peer;
  #beat: NodeJS.Timeout | undefined;
  #id = 0;

  static async open(address: string): Promise<Asker> {
    const env = clientEnv(silentLog, {small: 256, medium: 32, large: 16});
    const peer = new Peer(env, await env.net.connect(address, CALL_MS));
    const asker = new Asker(peer);
    const handlers = new Handlers<null>()
      .on(OPS.mapPush, ({map}) => ({message: {epoch: map!.epoch}}))
      .on(OPS.recall, ({oid, keep}) => {
        void asker.call(OPS.yieldLease, {oid, keep, attr: null}).catch(() => {});
        return {message: {}};
      })
      .on(OPS.reportAttr, () => ({message: {items: []}}));
    peer.serve(handlers, null);
    await peer.hello({role: 'client', name: 'bench'});
    asker.#beat = setInterval(() => void asker.call(OPS.heartbeat, {}).catch(() => {}), BEAT_MS);
    return asker;
  }

  private constructor(peer: Peer) {
    this.#peer = peer;
  }

  async call<Q, R>(op: Op<Q, R>, request: Partial<Q>): Promise<R> {
    const id = op.mutates ? {id: ++this.#id} : {};
    return (await this.#peer.call(op, request, {...id, deadlineMs: CALL_MS})).message;
  }

  close(): void {
    clearInterval(this.#beat);
    this.#peer.close('done');
  }
}

/** `AT_ONCE` of them at a time. */
async function each(count: number, run: (n: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await run(next++);
  };
  await Promise.all(Array.from({length: AT_ONCE}, worker));
}

async function ready(asker: Asker): Promise<void> {
  const end = performance.now() + READY_MS;
  for (;;) {
    const {groups} = (await asker.call(OPS.status, {})).map!;
    if (groups.length > 0 && groups.every(({state}) => state === GROUP.ready)) return;
    if (performance.now() > end) throw new Error('the data servers make no group');
    await delay(100);
  }
}

/** What a start begins has been done: data servers have their backtraces of everything, say. */
async function settled(pid: number): Promise<void> {
  const end = performance.now() + SETTLE_MS;
  for (let idle = 0; idle < 3; ) {
    const before = cpuSecondsOf(pid);
    await delay(1_000);
    idle = cpuSecondsOf(pid) - before < IDLE ? idle + 1 : 0;
    if (performance.now() > end) throw new Error('the meta server does not come to rest');
  }
}

/** For each kind of request: wall time of one, with `AT_ONCE` at a time, and CPU time of the meta server. */
export async function served(folder: string): Promise<Record<string, Figures>> {
  const tree = readTree(folder);
  const at = ['--listen', '127.0.0.1:0', '--any-domain'];
  const meta = await RoleProcess.start(
    CPFS,
    ['meta', 'start', '--state', join(folder, 'meta'), ...at],
    join(folder, 'meta.log'),
  );
  const running = [meta];
  const address = meta.info.address!;
  try {
    for (let i = 0; i < FORMAT.groupSize; i++) {
      const state = ['--state', join(folder, `data${i}`), '--listen', '127.0.0.1:0'];
      const argv = ['data', 'start', ...state, '--group', '1', '--meta', address];
      running.push(await RoleProcess.start(CPFS, argv, join(folder, `data${i}.log`)));
    }
    const asker = await Asker.open(address);
    await ready(asker);
    await settled(meta.pid);
    const parentOf = (i: number): number => tree.directories[directoryOf(tree, i)]!;
    const result: Record<string, Figures> = {};
    const run = async (what: string, count: number, one: (n: number) => Promise<unknown>) => {
      // Of the first ones the code is compiled, and pages are mapped.
      const warm = Math.floor(count / 5);
      await each(warm, one);
      const cpu = cpuSecondsOf(meta.pid);
      const began = performance.now();
      await each(count - warm, (n) => one(n + warm));
      const us = ((performance.now() - began) * 1000) / (count - warm);
      result[what] = {us, cpuUs: ((cpuSecondsOf(meta.pid) - cpu) * 1e6) / (count - warm)};
    };
    const reads = Math.min(READS, tree.files);
    const changes = Math.min(CHANGES, Math.floor(tree.files / 8));
    // What `work` of meta-phases.ts has left alone.
    const left = (n: number): number =>
      pick(tree, n + 2 * Math.min(50_000, Math.floor(tree.files / 4)));
    await run('lookup', reads, (n) => {
      const i = pick(tree, n);
      return asker.call(OPS.lookup, {parent: parentOf(i), name: nameOf(i)});
    });
    await run('getattr', reads, (n) => asker.call(OPS.getattr, {oid: oidOf(tree, pick(tree, n))}));
    await run('setattr', changes, (n) =>
      asker.call(OPS.setattr, {oid: oidOf(tree, pick(tree, n)), mask: 1, mode: 0o600}),
    );
    await run('create', changes, (n) => {
      const parent = tree.directories[(n * 104_729 + 31) % tree.directories.length]!;
      const name = bytes(`served-${n}`);
      return asker.call(OPS.create, {mode: 0o100_644, caller, exclusive: true, parent, name});
    });
    await run('rename', changes, (n) => {
      const i = left(n);
      const parent = parentOf(i);
      const newName = bytes(`served-renamed-${n}`);
      const names = {parent, name: nameOf(i), newParent: parent, newName};
      return asker.call(OPS.rename, names);
    });
    await run('unlink', changes, (n) => {
      const i = left(n + changes);
      return asker.call(OPS.unlink, {parent: parentOf(i), name: nameOf(i)});
    });
    asker.close();
    return result;
  } finally {
    for (const role of running.reverse()) await role.end();
  }
}
