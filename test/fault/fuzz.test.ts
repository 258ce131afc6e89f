// Goal: no peer that talks nonsense, or nothing at all, harms a server or those whom it serves. Method: damaged frames and
// silent connections against the real processes of a cluster, while its mount is used.
import {readFileSync} from 'node:fs';
import {open, readFile} from 'node:fs/promises';
import {connect, type Socket} from 'node:net';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {parseAddress} from '../../src/core/base/address.js';
import {OPS, PROTOCOL_VERSION} from '../../src/core/protocol/ops.js';
import {identify} from '../../src/roles/process.js';
import {DevCluster, shell} from '../support/dev-cluster.js';
import {frameBytes, pattern} from '../support/frames.js';
import {emptyRequests, fuzzConnection} from '../support/fuzz-connection.js';

const MINUTES = 60_000;
const FRAMES = 3000;
const FILE_BYTES = 3 << 20;
const SILENT = 100;
/** A session that nobody has: data servers take the word of the meta server for it only when it is fenced. */
const NO_SESSION = 2 ** 40;
const none = new Uint8Array(0);
const seed = Number(process.env.FUZZ_SEED ?? 90_210);
let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.up();
}, 2 * MINUTES);
afterAll(() => cluster?.down(), MINUTES);

function hello(more: {role: string; session?: number; server?: string}): Uint8Array {
  const versions = {versionMin: PROTOCOL_VERSION, versionMax: PROTOCOL_VERSION};
  const message = OPS.hello.request.encode({...versions, release: '0', name: 'fuzz', ...more});
  const plain = {flags: 0, id: 1, status: 0, payload: none};
  return frameBytes({...plain, type: OPS.hello.code, message: Uint8Array.from(message)});
}

/** Requests that a data server carries out for whoever asks well. */
function dataRequests(): Uint8Array[] {
  const shape = {generation: 0, column: 0, k: 4, m: 1, unitBytes: 65_536, epoch: 1, repair: false};
  const ref = {...shape, oid: 2 ** 40, chunk: 0};
  const plain = {flags: 0, id: 7, status: 0};
  const write = OPS.write.request.encode({ref, ranges: [{offset: 0, length: 8192}]});
  const read = OPS.read.request.encode({ref, ranges: [{offset: 0, length: 8192}]});
  return [
    frameBytes({
      ...plain,
      type: OPS.write.code,
      message: Uint8Array.from(write),
      payload: pattern(8192, 1),
    }),
    frameBytes({...plain, type: OPS.read.code, message: Uint8Array.from(read), payload: none}),
  ];
}

/** Writes and reads a file on the mount until it is told to stop; how often it did. */
function use(): {stop(): Promise<number>} {
  let stopped = false;
  const work = async (): Promise<number> => {
    let rounds = 0;
    for (; !stopped || rounds === 0; rounds++) {
      const bytes = pattern(FILE_BYTES, rounds);
      const path = join(cluster.mount, `used-${rounds % 3}`);
      const file = await open(path, 'w');
      await file.write(bytes);
      await file.sync();
      await file.close();
      if (Buffer.compare(await readFile(path), bytes) !== 0) throw new Error(`${path} is wrong`);
    }
    return rounds;
  };
  const rounds = work();
  rounds.catch(() => {}); // It is awaited at the stop; until then its failure is nobody's.
  return {
    stop: () => {
      stopped = true;
      return rounds;
    },
  };
}

/** The processes that were started are still the ones that run, and the cluster is whole. */
async function unharmed(): Promise<void> {
  const {dev} = cluster;
  for (const {pid, startTicks} of [...dev.meta, ...dev.data, ...dev.mounts])
    expect(identify(pid).startTicks).toBe(startTicks);
  const status = await cluster.status();
  expect(status.state).toBe('ok');
  expect(status.servers.every((server) => server.connected)).toBe(true);
}

const refusals = (log: string): string[] =>
  readFileSync(join(cluster.state, 'log', `${log}.log`), 'utf8')
    .split('\n')
    .filter((line) => line.includes('"peer.refused"') || line.includes('"peer.closed"'))
    .map((line) => (JSON.parse(line) as {reason: string}).reason);

describe(`fuzz: ${FRAMES} damaged frames for each door (C100, seed ${seed})`, () => {
  test(
    'the meta server, before hello and as an administrator and a client',
    async () => {
      const using = use();
      const address = cluster.meta;
      const results = [
        await fuzzConnection({address, seed, frames: FRAMES}),
        await fuzzConnection({
          address,
          seed: seed + 1,
          frames: FRAMES,
          prologue: [hello({role: 'admin'})],
        }),
        await fuzzConnection({
          address,
          seed: seed + 2,
          frames: FRAMES,
          prologue: [hello({role: 'client'})],
        }),
      ];
      for (const {sent, connections} of results) {
        expect(sent).toBe(FRAMES);
        expect(connections).toBeGreaterThan(FRAMES / 20);
      }
      // Those who said hello were answered, so what follows it was reached.
      expect(results[1]!.answered).toBeGreaterThan(0);
      expect(results[2]!.answered).toBeGreaterThan(0);
      expect(await using.stop()).toBeGreaterThan(0);
      await unharmed();
      const reasons = refusals('meta1');
      expect(reasons.some((reason) => reason.includes('is not allowed here'))).toBe(true);
      expect(reasons.some((reason) => reason.includes('sum'))).toBe(true);
    },
    4 * MINUTES,
  );

  test(
    'a data server, before hello and as a client',
    async () => {
      const using = use();
      const {address} = cluster.dev.data[1]!;
      const {servers} = await cluster.status();
      const server = servers.find((one) => one.address === address)!.uuid;
      const prologue = [hello({role: 'client', session: NO_SESSION, server})];
      const samples = [...emptyRequests(), ...dataRequests()];
      const results = [
        await fuzzConnection({address, seed: seed + 3, frames: FRAMES, samples}),
        await fuzzConnection({address, seed: seed + 4, frames: FRAMES, samples, prologue}),
        await fuzzConnection({
          address,
          seed: seed + 5,
          frames: FRAMES,
          samples: dataRequests(),
          prologue,
        }),
      ];
      for (const {sent} of results) expect(sent).toBe(FRAMES);
      expect(results[1]!.answered).toBeGreaterThan(0);
      expect(await using.stop()).toBeGreaterThan(0);
      await unharmed();
      const reasons = refusals('data2');
      expect(reasons.some((reason) => reason.includes('is not allowed here'))).toBe(true);
      expect(reasons.some((reason) => reason.includes('sum'))).toBe(true);
    },
    4 * MINUTES,
  );

  test(
    `${SILENT} connections to each that say nothing: others are served, and they are closed`,
    async () => {
      const addresses = [cluster.meta, cluster.dev.data[0]!.address];
      const silent = await Promise.all(
        addresses.flatMap((address) => Array.from({length: SILENT}, () => dial(address))),
      );
      const closed = Promise.all(
        silent.map((socket) => new Promise((resolve) => socket.once('close', resolve))),
      );
      try {
        expect(await use().stop()).toBe(1);
        await unharmed();
        // The servers end them: a connection that has not said hello holds nothing for ever.
        await closed;
      } finally {
        for (const socket of silent) socket.destroy();
      }
      await unharmed();
      await shell(`touch ${cluster.mount}/after && test -f ${cluster.mount}/after`);
    },
    MINUTES,
  );
});

function dial(address: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(parseAddress(address)!);
    socket.once('error', reject);
    socket.once('connect', () => resolve(socket.off('error', reject).on('error', () => {})));
    socket.resume();
  });
}
