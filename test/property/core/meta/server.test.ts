import {expect, test} from '@jest/globals';
import {OPS, type Op} from '../../../../src/core/protocol/ops.js';
import {SeededRandom} from '../../../../src/core/sim/random.js';
import {MetaCluster, type ToyClient} from '../../../support/meta-cluster.js';

// Goal: no request of a registered client, whatever its fields say, stops the server or disturbs the others. Method:
// every request that clients may send, with fields drawn from values at the edges, thrown by a client that also
// reconnects when it is put out; between the throws an honest client works.

const NUMBERS = [0, 1, 1, 2, 3, 4, 7, 255, 4096, 65_535, 2 ** 31, 2 ** 32 - 1];
const BIG = [...NUMBERS, 2 ** 32, 2 ** 52, 2 ** 53 - 1];
const NAMES = ['', '.', '..', 'f', 'g', 'a/b', '\0', 'x'.repeat(255), 'x'.repeat(256)];

function draw(random: SeededRandom, value: unknown, field: string): unknown {
  if (typeof value === 'number')
    return random.pick(/oid|size|parent|cookie|epoch/i.test(field) ? BIG : NUMBERS);
  if (typeof value === 'boolean') return random.below(2) === 1;
  if (typeof value === 'string') return random.pick(NAMES);
  if (value instanceof Uint8Array) return Buffer.from(random.pick(NAMES));
  if (Array.isArray(value)) {
    const length = random.below(4);
    if (field === 'items') return Array.from({length}, () => item(random));
    return Array.from({length}, () => random.pick(field === 'modes' ? [0, 1, 2, 3] : BIG));
  }
  if (field === 'attr') return random.below(2) === 0 ? null : item(random);
  if (field === 'caller') return {uid: random.pick(NUMBERS), gid: random.pick(NUMBERS)};
  if (/time$/.test(field)) return random.below(2) === 0 ? null : time(random);
  return value;
}

const time = (random: SeededRandom) => ({
  sec: random.pick([-1, 0, 1e9, 2 ** 52]),
  nsec: random.pick([0, 999_999_999, 2 ** 32 - 1]),
});

const item = (random: SeededRandom) => ({
  oid: random.pick(BIG),
  size: random.pick(BIG),
  blocks: random.pick(BIG),
  mtime: random.below(2) === 0 ? null : time(random),
  atime: random.below(2) === 0 ? null : time(random),
  hasSize: random.below(2) === 1,
  hasMtime: random.below(2) === 1,
  hasAtime: random.below(2) === 1,
  hasInline: false,
  inlineBytes: 0,
});

async function throwOne(rude: ToyClient, random: SeededRandom): Promise<void> {
  const ops = Object.values(OPS).filter(({code}) => code < 0x0300 && code !== OPS.hello.code);
  const op = random.pick(ops) as unknown as Op<Record<string, unknown>, unknown>;
  const shape = op.request.decode(new Uint8Array(0));
  const request = Object.fromEntries(
    Object.entries(shape).map(([field, value]) => [field, draw(random, value, field)]),
  );
  if (rude.peer.closed) {
    rude.session = random.below(2) === 0 ? 0 : rude.session;
    await rude.connect(random.below(2) === 0).catch(() => {
      rude.session = 0;
    });
    if (rude.peer.closed) return;
  }
  const options = {deadlineMs: 300, ...(op.mutates ? {id: 1 + random.below(5_000)} : {})};
  await rude.peer.call(op, request, options).catch(() => {});
}

test.each([1, 2, 3, 4])('whatever a client asks, the server serves the others (seed %i)', (seed) =>
  MetaCluster.run(async (c) => {
    const honest = await c.client('honest');
    const {oid} = (await honest.create('mine')).attr;
    await honest.release(oid);
    const rude = await c.client('rude');
    const random = new SeededRandom(seed);
    for (let i = 0; i < 400; i++) {
      await throwOne(rude, random);
      if (i % 20 === 0) expect((await honest.getattr(1)).attr.oid).toBe(1);
    }
    expect((await c.status()).map.groups[0]?.slots.length).toBe(5);
    expect(c.failures).toEqual([]);
  }, seed),
);
