// Goal: nothing comes to cost more messages, syncs or bytes unnoticed. Method: the same work in a simulated cluster, counted; docs/costs.md
// has what came out when somebody last looked.
import {readFileSync, writeFileSync} from 'node:fs';
import {expect, test} from '@jest/globals';
import {KIB, MIB} from '../../src/core/base/units.js';
import type {TestClient} from '../support/client-cluster.js';
import {pattern} from '../support/frames.js';
import {RealCluster} from '../support/real-cluster.js';

const FILE = new URL('../../../docs/costs.md', import.meta.url);
const ROOT_USER = {uid: 0, gid: 0};
const NEW = {exclusive: true, truncate: false};
const ROOT = 1;
/** By then everything that was begun in the background has ended. */
const REST_MS = 15_000;
const INLINE_BYTES = 16 * KIB;

interface Counts {
  meta: number;
  data: number;
  metaSyncs: number;
  dataSyncs: number;
  bytesOut: number;
  bytesIn: number;
}

interface Row extends Counts {
  work: string;
  unit: string;
  units: number;
  userBytes: number;
}

/** Counts what all clients, and the servers for them, do until all comes to rest. */
class Counter {
  readonly rows: Row[] = [];
  readonly #cluster: RealCluster;
  readonly #clients: TestClient[] = [];
  #metaSyncs = 0;
  #dataSyncs = 0;

  constructor(cluster: RealCluster) {
    this.#cluster = cluster;
    cluster.meta.host.disk.fault = (action) => {
      if (action === 'sync') this.#metaSyncs++;
      return null;
    };
    for (const {disk} of cluster.machines)
      disk.fault = (action) => {
        if (action === 'sync') this.#dataSyncs++;
        return null;
      };
  }

  async count(
    work: string,
    [units, unit]: [number, string],
    client: TestClient,
    run: (client: TestClient) => Promise<void>,
    userBytes = 0,
  ): Promise<void> {
    if (!this.#clients.includes(client)) this.#clients.push(client);
    const before = this.#now();
    await run(client);
    await this.#cluster.meta.pass(REST_MS);
    const after = this.#now();
    const spent = Object.fromEntries(
      Object.entries(after).map(([key, value]) => [key, value - before[key as keyof Counts]]),
    ) as unknown as Counts;
    this.rows.push({work, unit, units, userBytes, ...spent});
  }

  #now(): Counts {
    const sum = (key: 'metaCalls' | 'dataCalls' | 'dataBytesOut' | 'dataBytesIn'): number =>
      this.#clients.reduce((total, {client}) => total + client.stats[key], 0);
    return {
      meta: sum('metaCalls'),
      data: sum('dataCalls'),
      metaSyncs: this.#metaSyncs,
      dataSyncs: this.#dataSyncs,
      bytesOut: sum('dataBytesOut'),
      bytesIn: sum('dataBytesIn'),
    };
  }
}

const nameOf = (text: string): Uint8Array => Buffer.from(text);

async function folder({client}: TestClient, parent: number, name: string): Promise<number> {
  return (await client.mkdir(parent, nameOf(name), 0o755, ROOT_USER)).oid;
}

async function put(one: TestClient, parent: number, name: string, bytes: number): Promise<number> {
  const {client} = one;
  const {attr} = await client.create(parent, nameOf(name), 0o644, ROOT_USER, NEW);
  await one.write(attr.oid, 0, pattern(bytes, bytes));
  await client.flush(attr.oid);
  client.release(attr.oid);
  return attr.oid;
}

/** As tar does: contents, then mode and times. */
async function untar(one: TestClient, top: number): Promise<void> {
  for (let d = 0; d < 5; d++) {
    const parent = await folder(one, top, `d${d}`);
    for (let f = 0; f < 20; f++) {
      await one.client.lookup(parent, nameOf(`f${f}`)).catch(() => {});
      const oid = await put(one, parent, `f${f}`, 1 + (((d * 20 + f) * 163) % INLINE_BYTES));
      await one.client.setattr(oid, {mtime: {sec: 1_600_000_000, nsec: 0}});
    }
  }
}

interface Found {
  name: Uint8Array;
  oid: number;
  isFolder: boolean;
}

async function entries({client}: TestClient, oid: number): Promise<Found[]> {
  const page = await client.readdir(oid, 0, 1024, false);
  return page.entries.map(({name, oid: child, type}) => ({name, oid: child, isFolder: type === 4}));
}

/** ls -lR, find, and what git status does to each file. */
async function list(one: TestClient, top: number): Promise<void> {
  for (const {name, oid, isFolder} of await entries(one, top)) {
    await one.client.lookup(top, name);
    await one.client.getattr(oid);
    if (isFolder) await list(one, oid);
  }
}

async function readAll(one: TestClient, top: number): Promise<void> {
  for (const {oid, isFolder} of await entries(one, top)) {
    if (isFolder) await readAll(one, oid);
    else {
      const {size} = await one.client.open(oid, {write: false});
      await one.read(oid, 0, size);
      one.client.release(oid);
    }
  }
}

async function removeAll(one: TestClient, top: number): Promise<void> {
  for (const {name, oid, isFolder} of await entries(one, top)) {
    if (isFolder) {
      await removeAll(one, oid);
      await one.client.rmdir(top, name);
    } else await one.client.unlink(top, name);
  }
}

async function measure(): Promise<Row[]> {
  let rows: Row[] = [];
  await RealCluster.run(async (cluster) => {
    const a = await cluster.client('a', INLINE_BYTES);
    const counter = new Counter(cluster);
    const tree = await folder(a, ROOT, 'tree');
    const small = await folder(a, ROOT, 'small');
    await cluster.meta.pass(REST_MS);
    await counter.count('idle for 15 s', [1, 'time'], a, () => Promise.resolve());
    await counter.count('untar', [100, 'file'], a, (one) => untar(one, tree));
    await counter.count(
      'create, write 4 KiB, close',
      [100, 'file'],
      a,
      async (one) => {
        for (let i = 0; i < 100; i++) await put(one, small, `s${i}`, 4 * KIB);
      },
      400 * KIB,
    );
    await counter.count('ls -lR, git status: warm', [105, 'name'], a, (one) => list(one, tree));
    await counter.count('open, read, close: warm', [100, 'file'], a, (one) => readAll(one, tree));
    const big = await put(a, ROOT, 'big', MIB);
    await cluster.meta.pass(REST_MS);
    await counter.count(
      'append 1 MiB',
      [1, 'MiB'],
      a,
      async (one) => {
        await one.client.open(big, {write: true});
        await one.write(big, MIB, pattern(MIB, 1));
        await one.client.flush(big);
        one.client.release(big);
      },
      MIB,
    );
    await counter.count(
      'overwrite 4 KiB, fsync',
      [10, 'time'],
      a,
      async (one) => {
        await one.client.open(big, {write: true});
        for (let i = 0; i < 10; i++) {
          await one.write(big, i * 64 * KIB, pattern(4 * KIB, i));
          await one.client.fsync(big);
        }
        one.client.release(big);
      },
      40 * KIB,
    );
    const b = await cluster.client('b', INLINE_BYTES);
    await counter.count('ls -lR: cold', [105, 'name'], b, (one) => list(one, tree));
    await counter.count('ls -lR: again', [105, 'name'], b, (one) => list(one, tree));
    await counter.count('open, read, close: cold', [100, 'file'], b, (one) => readAll(one, tree));
    await counter.count(
      'read 2 MiB: cold',
      [2, 'MiB'],
      b,
      async (one) => {
        await one.client.open(big, {write: false});
        for (let i = 0; i < 16; i++) await one.read(big, i * 128 * KIB, 128 * KIB);
        one.client.release(big);
      },
      2 * MIB,
    );
    const shared = await put(a, ROOT, 'shared', 4 * MIB);
    await a.client.fsync(shared);
    await cluster.meta.pass(REST_MS);
    await counter.count(
      'write 64 KiB, in turns with another client',
      [64, 'record'],
      a,
      async () => {
        for (const one of [a, b]) await one.client.open(shared, {write: true});
        for (let i = 0; i < 64; i++)
          await (i % 2 === 0 ? a : b).write(shared, i * 64 * KIB, pattern(64 * KIB, i));
        for (const one of [a, b]) {
          await one.client.fsync(shared);
          one.client.release(shared);
        }
      },
      4 * MIB,
    );
    await counter.count('rm -r', [100, 'file'], a, (one) => removeAll(one, tree));
    const many = await folder(a, ROOT, 'many');
    for (let i = 0; i < 100; i++) await put(a, await folder(a, many, `d${i}`), 'file', 4 * KIB);
    await a.client.syncAll();
    await a.client.parts.holder.yieldAll();
    await cluster.meta.pass(REST_MS);
    await counter.count('ls -lR: cold, nobody else has it', [100, 'folder'], b, (one) =>
      list(one, many),
    );
    await b.close();
    const c = await cluster.client('c', INLINE_BYTES);
    await counter.count('rm -r: cold, nobody else has it', [100, 'folder'], c, (one) =>
      removeAll(one, many),
    );
    await c.close();
    await a.close();
    rows = counter.rows;
  });
  return rows;
}

function documentOf(rows: readonly Row[]): string {
  const per = (count: number, {units}: Row): string =>
    String(Math.round((count / units) * 1000) / 1000);
  const ratio = (bytes: number, {userBytes}: Row): string =>
    userBytes === 0 ? '' : (bytes / userBytes).toFixed(2);
  return [
    '# What things cost',
    '',
    'Requests of clients to the meta server and to data servers, syncs of their disks, and bytes between client and data servers for each',
    'byte of the program, until everything that was begun in the background has ended; in a simulated cluster of one meta server and five data',
    'servers (4+1), counted and compared by `test/transcript/costs.test.ts` (`CPFS_REWRITE=1` rewrites this file). Small files are at most 16 KiB.',
    '',
    '| work | for each | meta requests | data requests | meta syncs | data syncs | sent / byte | received / byte |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ...rows.map(
      (row) =>
        `| ${row.work} | ${row.unit} | ${per(row.meta, row)} | ${per(row.data, row)} | ${per(row.metaSyncs, row)} | ${per(row.dataSyncs, row)} | ${ratio(row.bytesOut, row)} | ${ratio(row.bytesIn, row)} |`,
    ),
    '',
  ].join('\n');
}

test('docs/costs.md says what everything costs (P27)', async () => {
  const measured = documentOf(await measure());
  if (process.env.CPFS_REWRITE === '1') writeFileSync(FILE, measured);
  expect(readFileSync(FILE, 'utf8')).toBe(measured);
}, 60_000);
