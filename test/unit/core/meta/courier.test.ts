// Goal: data servers get what checkpoints write, once; everything only where the chain is broken; and nobody waits for them. Method: couriers between a spool on a simulated disk and stores on real folders, over calls without a network.
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {Lost} from '../../../../src/core/base/errors.js';
import {THIS_RELEASE} from '../../../../src/core/base/features.js';
import {SLOT} from '../../../../src/core/cluster/map.js';
import {Backtraces as Kept} from '../../../../src/core/data/backtraces.js';
import {backtrace, backtraceMarks} from '../../../../src/core/data/ops/backtraces.js';
import type {DataContext} from '../../../../src/core/data/ops/context.js';
import {silentLog} from '../../../../src/core/env/log.js';
import {Backtraces} from '../../../../src/core/meta/backtraces.js';
import type {Cluster} from '../../../../src/core/meta/cluster.js';
import {Courier, type CourierCounts} from '../../../../src/core/meta/courier.js';
import {inlineKey, inodeKey} from '../../../../src/core/meta/keys.js';
import type {Machine} from '../../../../src/core/meta/machine.js';
import {Spool} from '../../../../src/core/meta/spool.js';
import {systemClock} from '../../../../src/core/os/clock.js';
import {
  ALL_SHARDS,
  type BacktraceEntry,
  entriesOf,
  lineOfMark,
  markLine,
  shardOf,
} from '../../../../src/core/protocol/backtraces.js';
import {OPS, type Op} from '../../../../src/core/protocol/ops.js';
import type {PeerLike} from '../../../../src/core/transport/peer-api.js';
import {DataBench} from '../../../support/data.js';
import {whole} from '../../../support/meta.js';

/** The store of the meta server, as far as a courier sees it. */
const rows = new Map<string, Uint8Array>();
const SHARD = shardOf(inodeKey(7));
const KEYS = Array.from({length: 400_000}, (_, i) => inodeKey(i)).filter(
  (key) => shardOf(key) === SHARD,
);
let meta: DataBench;
let data: DataBench;
let kept: Kept;
let spool: Spool;
let counts: CourierCounts;
let courier: Courier | null = null;
let position = 0;

const env = () => ({...meta.context.env, clock: systemClock, log: silentLog});

beforeEach(async () => {
  rows.clear();
  position = 0;
  meta = await DataBench.open();
  data = await DataBench.open();
  kept = new Kept({...data.context.env, clock: systemClock});
  spool = await Spool.open(env(), position);
  counts = {messages: 0, bytes: 0, whole: 0};
});
afterEach(async () => {
  hangUp();
  await kept.close();
  await meta.close();
  await data.close();
});

/** A checkpoint that writes these. */
async function checkpoint(changes: Record<string, string | null>, spooled = true): Promise<void> {
  const from = position++;
  const all = Object.entries(changes).map(
    ([key, value]) => [key, value === null ? null : Buffer.from(value)] as const,
  );
  for (const [key, value] of all) {
    if (value === null) rows.delete(key);
    else rows.set(key, value);
  }
  if (spooled) await spool.note(all, from, position);
  spool.written(position);
}

let connection: {closed: boolean} = {closed: true};

/** Calls to the data server, until the next ones. */
function connect(): PeerLike {
  const own = {closed: false};
  connection = own;
  const call = async <Q, R>(op: Op<Q, R>, request: Partial<Q>) => {
    if (own.closed) throw new Lost('closed');
    const context = {backtraces: kept} as unknown as DataContext;
    const q = whole(op, request);
    const answer =
      op.code === OPS.backtrace.code
        ? await backtrace(q as never, context)
        : await backtraceMarks(q as never, context);
    return {message: op.reply.decode(op.reply.encode(answer.message as R)), payload: null};
  };
  return {
    peer: 'd',
    call: call as PeerLike['call'],
    push: () => {},
    close: () => {},
    release: THIS_RELEASE,
    knows: () => true,
    get closed() {
      return own.closed;
    },
  };
}

const range = (from: string, to: string, limit: number): [string, Uint8Array][] =>
  [...rows]
    .filter(([key]) => key >= from && key < to)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .slice(0, limit);

function dial(line = 0): void {
  const peer = connect();
  courier = new Courier(env(), peer, {
    spool,
    shards: () => [SHARD],
    rows: range,
    line: () => line,
    sequence: () => position,
    counts,
  });
}

function hangUp(): void {
  connection.closed = true;
  courier?.close();
}

async function atTheServer(): Promise<Map<string, string>> {
  const there = new Map<string, string>();
  for (let cursor: Uint8Array = new Uint8Array(0); ; ) {
    const page = await kept.read(SHARD, cursor);
    for (const entry of entriesOf(page.records)) there.set(entry![0], String(entry![1]));
    if (page.end) break;
    cursor = page.cursor;
  }
  return there;
}

async function arrived(): Promise<void> {
  const until = performance.now() + 10_000;
  while (courier?.at !== position) {
    if (performance.now() > until) throw new Error(`at ${courier?.at}, not ${position}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const there = await atTheServer();
  const wanted = [...rows].filter(([key]) => shardOf(key) === SHARD);
  expect([...there].sort()).toEqual(wanted.map(([key, value]) => [key, String(value)]).sort());
}

describe('couriers', () => {
  test('a new server gets everything once, and then what changes, of its shards alone', async () => {
    await checkpoint({[KEYS[0]!]: '1', [KEYS[1]!]: '1', [inodeKey(8)]: 'elsewhere'});
    dial();
    await arrived();
    expect(counts.whole).toBe(1);
    const {messages} = counts;
    for (let i = 0; i < 5; i++) {
      await checkpoint({[KEYS[i]!]: `${i}`, [KEYS[1]!]: null, [inodeKey(8)]: 'x', r123: 'reply'});
      await arrived();
    }
    expect(counts).toMatchObject({whole: 1, messages: messages + 5});
    // Nothing goes where there is nothing for it but the news that there is nothing.
    const {bytes} = counts;
    await checkpoint({[inodeKey(8)]: 'y'});
    await arrived();
    expect(counts.bytes).toBe(bytes);
  });

  test('after a restart of either side what is missing is sent, and no more', async () => {
    await checkpoint({[KEYS[0]!]: '1'});
    dial();
    await arrived();
    hangUp();
    await checkpoint({[KEYS[1]!]: '2'});
    await checkpoint({[KEYS[2]!]: '3', [KEYS[0]!]: null});
    await kept.close();
    kept = new Kept({...data.context.env, clock: systemClock});
    spool = await Spool.open(env(), position);
    const before = counts.messages;
    dial();
    await arrived();
    expect(counts).toMatchObject({whole: 1, messages: before + 2});
    expect(spool.after(position - 2)).not.toBe(null);
    spool.trim(position);
    expect(spool.after(0)).toBe(null);
    hangUp();
    spool = await Spool.open(env(), position);
    dial();
    await arrived();
    expect(counts.whole).toBe(1);
  });

  test('a server that was wiped, a chain that is broken, and another line of states: everything is sent again', async () => {
    await checkpoint({[KEYS[0]!]: '1', [KEYS[1]!]: '1'});
    dial();
    await arrived();
    hangUp();
    await kept.close();
    await data.disk.inner.removeTree('backtraces');
    kept = new Kept({...data.context.env, clock: systemClock});
    dial();
    await arrived();
    expect(counts.whole).toBe(2);
    // The meta server's disk was full.
    await checkpoint({[KEYS[2]!]: '2', [KEYS[1]!]: null}, false);
    await arrived();
    expect(counts.whole).toBe(3);
    hangUp();
    dial(1);
    await arrived();
    expect(counts.whole).toBe(4);
    // A piece of which the checkpoint was not written is not sent: another one will have the same.
    hangUp();
    await spool.note([[KEYS[5]!, Buffer.from('never')]], position, position + 1);
    spool = await Spool.open(env(), position);
    await checkpoint({[KEYS[6]!]: '6'});
    dial(1);
    await arrived();
    expect(counts.whole).toBe(4);
  });

  test('a meta server that followed another one until now goes on where that one was', async () => {
    await checkpoint({[KEYS[0]!]: '1'});
    await checkpoint({[KEYS[1]!]: '1'});
    dial();
    await arrived();
    hangUp();
    // Its own checkpoints are at other batches, and the last one is older than what the server has.
    spool = await Spool.open(env(), position - 1);
    dial();
    rows.set(KEYS[2]!, Buffer.from('2'));
    const changes = [KEYS[1]!, KEYS[2]!].map((key) => [key, rows.get(key)!] as const);
    await spool.note(changes, position - 1, ++position);
    spool.written(position);
    await arrived();
    expect(counts.whole).toBe(1);
  });

  test('what changes while everything is sent is not lost, nor is it in messages that are too long', async () => {
    for (const key of KEYS) rows.set(key, Buffer.from(`first of ${key}`.padEnd(200, '.')));
    await checkpoint({[KEYS[0]!]: '0'});
    dial();
    for (let i = 0; i < 30; i++) {
      await checkpoint({[KEYS[i * 40]!]: 'x'.repeat(60_000), [KEYS[i * 40 + 1]!]: null});
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await arrived();
    const all = KEYS.slice(0, 40).map((key) => [key, 'z'.repeat(50_000)] as const);
    await checkpoint(Object.fromEntries(all));
    await arrived();
    expect(counts.whole).toBe(1);
  });
});

describe('files that lie in the metadata', () => {
  const FILE = {[inodeKey(7)]: 'inode', [inlineKey(7)]: 'bytes'};
  let backtraces: Backtraces;

  /** A meta server starts: the only data server is the only slot of the only group, and gets everything. */
  async function start(inline: boolean): Promise<void> {
    backtraces = new Backtraces(env(), {inline});
    await backtraces.begin(position);
    const peer = connect();
    const store = {get: (key: string) => rows.get(key), range};
    const machine = {
      superblock: {rootLayout: {m: 1}},
      audit: (look: (tx: unknown) => unknown) => look({store}),
      get sequence() {
        return position;
      },
    } as unknown as Machine;
    const cluster = {
      control: {
        state: {groups: [{id: 1, slots: [{state: SLOT.ready, member: {uuid: 'd'}}]}]},
      },
      connection: () => ({peer, incarnation: 1}),
    } as unknown as Cluster;
    backtraces.start(machine, cluster);
  }

  async function change(changes: Record<string, string | null>): Promise<void> {
    const from = position++;
    const all = Object.entries(changes).map(([key, value]): BacktraceEntry => {
      if (value === null) rows.delete(key);
      else rows.set(key, Buffer.from(value));
      return [key, value === null ? null : Buffer.from(value)];
    });
    await backtraces.note(all, from, position);
    backtraces.written(position);
  }

  async function there(): Promise<Record<string, string>> {
    const until = performance.now() + 10_000;
    do {
      if (performance.now() > until) throw new Error('it is behind');
      await new Promise((resolve) => setTimeout(resolve, 5));
    } while (backtraces.stats.behind);
    return Object.fromEntries(await atTheServer());
  }

  function stop(): void {
    backtraces.close();
    connection.closed = true;
  }

  test('their bytes are with the data servers, or not; and after a change of mind everything is sent again', async () => {
    await start(false);
    await change(FILE);
    expect(await there()).toEqual({[inodeKey(7)]: 'inode'});
    // A piece alone, and everything.
    expect(backtraces.stats.whole).toBe(ALL_SHARDS);
    stop();

    await start(true);
    expect(await there()).toEqual(FILE);
    await change({[inlineKey(7)]: 'others'});
    expect(await there()).toEqual({...FILE, [inlineKey(7)]: 'others'});
    const {whole} = backtraces.stats;
    stop();
    expect(whole).toBe(ALL_SHARDS);

    await start(true);
    await there();
    expect(backtraces.stats.whole).toBe(0);
    stop();

    await start(false);
    expect(await there()).toEqual({[inodeKey(7)]: 'inode'});
    await change({[inlineKey(7)]: 'again'});
    expect(await there()).toEqual({[inodeKey(7)]: 'inode'});
    stop();
  });

  test('a mark says of which history it is whether the bytes are there or not', () => {
    for (const inline of [true, false]) expect(lineOfMark(markLine(3, inline))).toBe(3);
  });
});
