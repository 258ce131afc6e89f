// Goal: a check of columns finds damage and mends it, and never takes what is being written for damage. Method: real servers on simulated disks.
import {describe, expect, test} from '@jest/globals';
import {checkChunk, mendChunk} from '../../../../src/core/client/check.js';
import {locate} from '../../../../src/core/client/place.js';
import {HEADER_OFFSET, pathOf, SUMS_OFFSET} from '../../../../src/core/data/format.js';
import {SeededRandom} from '../../../../src/core/sim/random.js';
import type {SimFile} from '../../../../src/core/sim/sim-file.js';
import type {TestClient} from '../../../support/client-cluster.js';
import {noise} from '../../../support/noise.js';
import {RealCluster} from '../../../support/real-cluster.js';

const SIZE = 300_000;
/** Everything has been synced and settled by then. */
const SETTLED_MS = 15_000;
const BLOCK = 4096;

interface Stage {
  cluster: RealCluster;
  check: TestClient;
  oid: number;
  bytes: Buffer;
  /** The local file of a column, as its server's disk has it, and the number of the server. */
  file(column: number): {file: SimFile; server: number; path: string};
  /** `kind column` of each fault. */
  faults(): Promise<string[]>;
  /** Of what is left. */
  mend(): Promise<string[]>;
}

function run(k: number, m: number, story: (s: Stage) => Promise<void>): Promise<void> {
  return RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    await a.client.layoutSet(1, {k, m});
    const oid = await a.create('f');
    const bytes = noise(SIZE, 7);
    await a.write(oid, 0, bytes);
    await a.client.fsync(oid);
    const layout = a.client.parts.holder.peek(oid)!.layout!;
    await cluster.meta.pass(SETTLED_MS);
    const check = await cluster.client('check');
    const {path} = check.client.parts;
    await story({
      cluster,
      check,
      oid,
      bytes,
      file: (column) => {
        const place = locate(path.columns.map, layout, oid, 0);
        const {uuid} = place.infos[column]!.server!;
        const server = cluster.servers.findIndex((one) => one.uuid === uuid);
        const local = pathOf({oid, chunk: 0, generation: 0});
        return {file: cluster.machines[server]!.disk.file(local)!, server, path: local};
      },
      faults: async () => kinds(await checkChunk(check.client, {oid, layout, size: SIZE}, 0)),
      mend: async () => kinds(await mendChunk(check.client, oid, 0)),
    });
    expect((await check.read(oid, 0, SIZE)).equals(bytes)).toBe(true);
    await check.close();
    await a.close();
  });
}

const kinds = (verdict: Awaited<ReturnType<typeof checkChunk>>): string[] =>
  verdict.state === 'looked'
    ? verdict.look.faults.map(({kind, column}) => `${kind} ${column}`)
    : [verdict.state];

/** As if a write of block 1 had been lost, sum and all: it has what block 0 has. */
function rollBack(file: SimFile): void {
  for (const [from, length] of [
    [0, BLOCK],
    [SUMS_OFFSET, 4],
  ] as const) {
    const bytes = new Uint8Array(length);
    file.read(from, bytes);
    file.write(from + length, bytes);
  }
}

describe.each([
  [4, 1],
  [3, 2],
  [1, 2],
])('check of columns (%i+%i)', (k, m) => {
  test('each damage of one column is found, and mended (C133)', () =>
    run(k, m, async (s) => {
      expect(await s.faults()).toEqual([]);
      const damages: [string, number, (file: SimFile) => void][] = [
        ['bad', 0, (file) => file.flip(5 * BLOCK + 17, 3)],
        ['bad', 0, (file) => file.flip(SUMS_OFFSET + 1, 3)],
        ['bad', k, (file) => file.flip(17, 3)],
        ['redundancy', k, (file) => file.flip(SUMS_OFFSET + 5, 3)],
        ['stale', 0, (file) => file.truncate(0)],
        ['redundancy', k, (file) => file.truncate(0)],
      ];
      if (m > 1) damages.push(['stale', 0, rollBack]);
      for (const [kind, column, damage] of damages) {
        damage(s.file(column).file);
        expect(await s.faults()).toEqual([`${kind} ${column}`]);
        expect(await s.mend()).toEqual([]);
        expect(await s.faults()).toEqual([]);
        await s.cluster.meta.pass(SETTLED_MS);
      }
    }));

  test('a column whose file is gone is made anew', () =>
    run(k, m, async (s) => {
      for (const column of [0, k]) {
        const {server, path} = s.file(column);
        const states = [...'RRRRR'];
        s.cluster.kill(server, false);
        s.cluster.machines[server]!.disk.unlink(path);
        states[server] = 'a';
        await s.cluster.until(states.join(''));
        await s.cluster.start(server);
        await s.cluster.until('RRRRR');
        expect(await s.faults()).toEqual([`missing ${column}`]);
        expect(await s.mend()).toEqual([]);
        await s.cluster.meta.pass(SETTLED_MS);
        expect(await s.faults()).toEqual([]);
      }
    }));
});

test('while a server is away nothing is mended, and its column is not judged', () =>
  run(3, 2, async (s) => {
    s.file(0).file.flip(5 * BLOCK, 1);
    const {server} = s.file(1);
    const states = [...'RRRRR'];
    s.cluster.kill(server, false);
    states[server] = 'a';
    await s.cluster.until(states.join(''));
    expect(await s.faults()).toEqual(['bad 0']);
    await expect(s.mend()).rejects.toThrow('EAGAIN');
    await s.cluster.start(server);
    await s.cluster.until('RRRRR');
    expect(await s.mend()).toEqual([]);
  }));

test('a header that rotted is no other column', () =>
  run(4, 1, async (s) => {
    s.file(2).file.flip(HEADER_OFFSET + 2, 1);
    expect(await s.faults()).toEqual([]);
  }));

test('what is being written, cut and removed is no damage (P20)', () =>
  run(4, 1, async (s) => {
    const writer = await s.cluster.client('writer');
    const oid = await writer.create('busy');
    const layout = writer.client.parts.holder.peek(oid)!.layout!;
    const random = new SeededRandom(5);
    let ended = false;
    const write = async (): Promise<void> => {
      for (let i = 0; i < 40; i++) {
        const at = random.below(60) * 5_000;
        await writer.write(oid, at, noise(20_000, i));
        if (i % 7 === 0) await writer.client.setattr(oid, {size: random.below(100_000)});
        if (i % 5 === 0) await writer.client.fsync(oid);
        await s.cluster.meta.pass(random.below(300));
      }
      ended = true;
    };
    const writing = write();
    for (let looks = 0; !ended || looks < 5; looks++) {
      const size = random.below(300_000);
      const verdict = await checkChunk(s.check.client, {oid, layout, size}, 0);
      expect(kinds(verdict)).toEqual([]);
      await s.cluster.meta.pass(100);
    }
    await writing;
    await writer.close();
  }));
