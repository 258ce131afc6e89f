import {setTimeout as delay} from 'node:timers/promises';
import {KIB, MIB} from '../../src/core/base/units.js';
import {
  type ColumnFile,
  columnsOf,
  type Damage,
  flipBits,
  unhealed,
} from '../../src/roles/dev/bits.js';
import {cutSockets} from '../../src/roles/dev/cut.js';
import {scrub} from '../../src/roles/scrub.js';
import {changeRecovery} from '../../src/roles/servers.js';
import type {Field} from './thrash-field.js';
import type {Lent} from './thrash-worker.js';

/** What is done to a cluster; `begin` gives null if it may not begin now, and else claims what it needs at once. */
export interface Fault {
  name: string;
  weight: number;
  /** It is more than the scheme survives, so it is done only when it is asked for. */
  beyond?: boolean;
  begin(field: Field): (() => Promise<Record<string, unknown>>) | null;
}

/** Blocks that are damaged are whole again within this time. */
const HEAL_MS_MAX = 60_000;
/** A server can be started again, whatever was done to it. */
const START_MS_MAX = 60_000;
/** After disks were full everything is settled within this time. */
const SETTLE_MS_MAX = 120_000;
/** An order of an administrator, and when it is given up. */
const ORDER_MS = 3000;
const ORDER_MS_MAX = 60_000;
/** Who is cut off dials again at once. */
const CUT_AGAIN_MS = 100;
const LEND_BYTES_MIN = 256 * KIB;

/** Short times often, long ones now and then. */
const pause = (field: Field, ms: number): number => Math.round(ms * field.random.float() ** 3);

/** Starts a server; again if it could not be, which only a full disk excuses, or a meta server that is away: who starts one is told so. */
async function started(field: Field, index: number): Promise<void> {
  const until = performance.now() + START_MS_MAX;
  for (;;) {
    const meta = field.busy.has('meta');
    try {
      return await field.start('data', index);
    } catch (error) {
      const excused = field.busy.has('full') || meta || field.busy.has('meta');
      field.note('not-started', {index, excused, error: String(error)});
      if (!excused || performance.now() > until) throw error;
    }
    await delay(2000);
  }
}

/** A fault of a server that may be lost. */
function ofServer(
  name: string,
  weight: number,
  act: (field: Field, index: number) => Promise<Record<string, unknown>>,
): Fault {
  return {
    name,
    weight,
    begin(field) {
      const index = field.target();
      if (index === null) return null;
      field.claimed.add(index);
      return async () => {
        try {
          const done = await act(field, index);
          await field.seen(index);
          return {index, ...done};
        } finally {
          field.claimed.delete(index);
        }
      };
    },
  };
}

/** A fault of which, and of others with this name, one goes on at a time. */
function ofOne(
  name: string,
  what: string,
  weight: number,
  act: (field: Field) => Promise<Record<string, unknown>>,
): Fault {
  return {
    name,
    weight,
    begin(field) {
      if (field.busy.has(what)) return null;
      field.busy.add(what);
      return () => act(field).finally(() => field.busy.delete(what));
    },
  };
}

async function stopped(field: Field, pid: number, ms: number): Promise<Record<string, unknown>> {
  process.kill(pid, 'SIGSTOP');
  field.note('stopped', {pid, ms});
  await delay(ms);
  process.kill(pid, 'SIGCONT');
  return {ms};
}

const killed = ofServer('kill', 4, async (field, index) => {
  const ms = pause(field, 12_000);
  await field.kill('data', index);
  field.note('killed', {index, ms});
  await delay(ms);
  await started(field, index);
  return {ms};
});

const restarted = ofServer('restart', 2, async (field, index) => {
  process.kill(field.pid(index), 'SIGTERM');
  const ms = pause(field, 4000);
  field.note('ended', {index, ms});
  await delay(ms);
  // It may still be at it, or have ended by itself.
  await field.kill('data', index).catch(() => {});
  await started(field, index);
  return {ms};
});

const frozen = ofServer('stop', 3, (field, index) =>
  stopped(field, field.pid(index), pause(field, 14_000)),
);

const wiped: Fault = {
  name: 'wipe',
  weight: 2,
  begin(field) {
    // Nothing else has to be known before a disk is lost: no check that a crash left over, no disk that is full.
    if (!field.settled || field.busy.has('full')) return null;
    const one = ofServer('wipe', 0, async (there, index) => {
      const ms = pause(there, 6000);
      await there.kill('data', index);
      there.disks.empty(index);
      there.note('wiped', {index, ms});
      await delay(ms);
      await started(there, index);
      return {ms};
    });
    return one.begin(field);
  },
};

/** All data servers at once. What was synced survives it; a program may be told of an error if they are away for long. */
const allKilled: Fault = {
  name: 'kill-all',
  weight: 0.5,
  beyond: true,
  begin(field) {
    if (field.claimed.size > 0 || field.damaged > 0 || field.busy.has('full')) return null;
    for (const index of field.servers) field.claimed.add(index);
    return async () => {
      const left = field.servers;
      await Promise.all(left.map((index) => field.kill('data', index)));
      field.note('killed-all');
      await Promise.all(left.map((index) => started(field, index)));
      for (const index of field.servers) await field.seen(index);
      field.claimed.clear();
      return {};
    };
  },
};

const metaKilled = ofOne('meta-kill', 'meta', 2, async (field) => {
  const ms = pause(field, 3000);
  await field.kill('meta', 1);
  field.note('meta-killed', {ms});
  await delay(ms);
  await field.start('meta', 1);
  return {ms};
});

const metaFrozen = ofOne('meta-stop', 'meta', 1, (field) =>
  stopped(field, field.cluster.dev.meta[0]!.pid, pause(field, 5000)),
);

const mountFrozen = ofOne('mount-stop', 'mount', 1, (field) =>
  // Not as long as others wait for what it holds before it is fenced.
  stopped(field, field.random.pick(field.mountPids), pause(field, 3000)),
);

const cut = ofOne('cut', 'cut', 4, async (field) => {
  const pids = field.mountPids.map((pid) => ({pid}));
  const of = field.random.pick([
    ...field.servers.map((index) => ({address: field.address(index)})),
    {address: field.cluster.meta},
    ...pids,
  ]);
  const share = field.random.pick([0.3, 1]);
  let sockets = 0;
  for (let times = field.random.range(1, 4); times > 0; times--) {
    sockets += await cutSockets(of, () => field.random.chance(share));
    await delay(pause(field, 1000));
  }
  return {...of, sockets};
});

/** Hardly anything passes between a server that may be lost and one other process: what is dialled again is cut again. */
const partitioned = ofServer('partition', 2, async (field, index) => {
  const meta = {pid: () => field.pid(index), address: field.cluster.meta};
  const address = field.address(index);
  const mounts = field.mountPids.map((pid) => ({pid: () => pid, address}));
  const others = field.servers.filter((one) => one !== index);
  const to = others.map((one) => ({pid: () => field.pid(one), address}));
  const {pid, address: far} = field.random.pick([meta, ...mounts, ...to]);
  const ms = pause(field, 12_000);
  const until = performance.now() + ms;
  let sockets = 0;
  while (performance.now() < until) {
    sockets += await cutSockets({pid: pid(), address: far}, () => true);
    await delay(CUT_AGAIN_MS);
  }
  return {ms, pid: pid(), far, sockets};
});

/** What an administrator asks for; again while the meta server may be away. */
async function ordered<T>(field: Field, order: () => Promise<T>): Promise<T> {
  const until = performance.now() + ORDER_MS_MAX;
  for (;;) {
    try {
      return await order();
    } catch (error) {
      field.note('not-ordered', {error: String(error)});
      if (performance.now() > until) throw error;
    }
    await delay(1000);
  }
}

const scrubbed = ofOne('scrub', 'scrub', 1, async (field) => {
  const deep = field.random.chance(0.5);
  await ordered(field, () => scrub(field.cluster.meta, ORDER_MS, {start: true, deep}));
  return {deep};
});

const recoveryPaused = ofOne('recovery-pause', 'recovery', 1, async (field) => {
  const ms = pause(field, 10_000);
  const order = (paused: boolean): Promise<void> =>
    ordered(field, () => changeRecovery(field.cluster.meta, ORDER_MS, {paused}));
  await order(true);
  field.note('recovery-paused', {ms});
  await delay(ms);
  await order(false);
  return {ms};
});

/** Finds the server and column of an object to damage: one server, so that each stripe loses one column. */
async function victim(
  field: Field,
  {oid}: Lent,
): Promise<{index: number; column: ColumnFile} | null> {
  const index = field.random.pick(field.servers);
  const columns = await columnsOf(field.cluster.dev.data[index - 1]!.folder, oid);
  return columns.length === 0 ? null : {index, column: field.random.pick(columns)};
}

/** A read through a mount heals what is in data columns, a write of everything what is in any. */
async function heal(field: Field, lent: Lent, damage: Damage): Promise<number> {
  const began = performance.now();
  const data = damage.column.shape.column < damage.column.shape.k;
  for (;;) {
    const how = data && field.random.chance(0.7) ? 'read' : 'write';
    await field.programs.ask({do: how, file: lent.file});
    const left = await unhealed(damage);
    const ms = Math.round(performance.now() - began);
    if (left.length === 0) return ms;
    if (ms > HEAL_MS_MAX)
      throw new Error(
        `blocks at ${left.join()} of ${damage.column.path} are still damaged after ${ms} ms`,
      );
    await delay(1000);
  }
}

async function flip(field: Field): Promise<Record<string, unknown>> {
  const lent = await field.programs.ask<Lent | null>({do: 'lend', bytesMin: LEND_BYTES_MIN});
  if (lent === null) return {nothing: true};
  const found = await victim(field, lent);
  try {
    if (found === null) return {nothing: true};
    const {index, column} = found;
    const damage = await flipBits(column, field.random);
    if (damage.offsets.length === 0) return {nothing: true};
    const told = {index, path: column.path, column: column.shape.column, offsets: damage.offsets};
    field.note('flipped', told);
    return {...told, healMs: await heal(field, lent, damage)};
  } finally {
    await field.programs.ask({do: 'return', file: lent.file});
  }
}

const flipped: Fault = {
  name: 'flip',
  weight: 4,
  begin(field) {
    if (!field.settled || field.busy.has('full')) return null;
    if (field.claimed.size + field.damaged + 1 > field.slack) return null;
    field.damaged++;
    return () =>
      flip(field).finally(() => {
        field.damaged--;
      });
  },
};

/** One server, or all. What is written meanwhile fails half way, so nobody may be lost until that is settled. */
const filled: Fault = {
  name: 'full',
  weight: 2,
  begin(field) {
    if (field.busy.has('full') || field.claimed.size > 0 || field.damaged > 0) return null;
    if (!field.settled) return null;
    field.busy.add('full');
    for (const index of field.servers) field.claimed.add(index);
    return async () => {
      const which = field.random.chance(0.5) ? [field.random.pick(field.servers)] : field.servers;
      const ms = field.random.range(1000, 8000);
      const left = field.random.range(0, 16) * MIB + 512 * KIB;
      try {
        await field.programs.ask({do: 'full', full: true});
        field.note('filling', {which, left, ms});
        for (const index of which) await field.disks.fill(index, left);
        await delay(ms);
      } finally {
        for (const index of which) field.disks.free(index);
        await field.programs.ask({do: 'full', full: false});
        field.note('freed');
      }
      const settleMs = await settled(field);
      field.busy.delete('full');
      field.claimed.clear();
      return {which, left, ms, settleMs};
    };
  },
};

async function settled(field: Field): Promise<number> {
  const began = performance.now();
  await delay(3000);
  while (!field.settled) {
    if (performance.now() - began > SETTLE_MS_MAX)
      throw new Error(`not settled ${SETTLE_MS_MAX} ms after disks were full`);
    await delay(500);
  }
  return Math.round(performance.now() - began);
}

export const FAULTS: readonly Fault[] = [
  killed,
  restarted,
  frozen,
  wiped,
  allKilled,
  metaKilled,
  metaFrozen,
  mountFrozen,
  cut,
  partitioned,
  scrubbed,
  recoveryPaused,
  flipped,
  filled,
];
