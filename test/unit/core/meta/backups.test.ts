// Goal: a backup that is read while the state changes is one state, and what is added to it leads to a later one. Method: a meta machine on a simulated host that
// goes on between the pieces; what was read is replayed on another host.
import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {FsError} from '../../../../src/core/base/errors.js';
import {piecesIn, recordsIn} from '../../../../src/core/meta/backup-stream.js';
import {Backups} from '../../../../src/core/meta/backups.js';
import {Ledger} from '../../../../src/core/meta/ledger.js';
import type {LogPosition} from '../../../../src/core/meta/log.js';
import {Machine} from '../../../../src/core/meta/machine.js';
import {positionOfPiece, StoreCopy} from '../../../../src/core/meta/store-copy.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {CALM_MACHINE, SimLand} from '../../../../src/core/sim/machine.js';
import {bytes, FORMAT, whole} from '../../../support/meta.js';
import {defer, play} from '../../../support/sim.js';

const POOL = {small: 4, medium: 2, large: 0};
const NOTHING = {sequence: 0, sum: 0};
const START = {...NOTHING, release: '1'};

/** A meta machine and its backups. */
class World {
  readonly land = new SimLand(1, defer);
  readonly host = this.land.machine('meta', {...CALM_MACHINE, pool: POOL});
  readonly env = this.host.boot();
  ledger!: Ledger;
  machine!: Machine;
  backups!: Backups;
  #files = 0;

  static run(story: (w: World) => Promise<void>): Promise<void> {
    const world = new World();
    return play(world.land, async () => {
      const {env} = world;
      // Small segments, of which one is kept: the log is soon forgotten.
      world.ledger = await Ledger.open(env, {segmentBytes: 2048, segmentsKept: 1});
      const options = {format: FORMAT, onApplied: () => {}, onFailed: () => {}};
      world.machine = await Machine.over(env, options, world.ledger);
      world.backups = new Backups({...env, release: {name: '1', features: []}}, world.ledger);
      await story(world);
      world.backups.close();
      await world.machine.close();
    });
  }

  async make(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const request = whole(OPS.mkdir, {
        parent: 1,
        name: bytes(`folder ${this.#files++} ${'x'.repeat(200)}`),
        mode: 0o755,
        caller: {uid: 1, gid: 1},
      });
      await this.machine.submit(OPS.mkdir, {session: 0, requestId: 0, request});
    }
  }

  pass(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.land.scheduler.schedule(null, ms, 'pass', resolve);
    });
  }

  /** Reads a backup to its end; `between` the pieces something else happens. */
  async take(after: LogPosition, between?: (piece: number) => Promise<void>): Promise<Taken> {
    const {id, full} = await this.backups.begin({release: '1', ...after});
    const taken: Taken = {full, state: [], log: []};
    for (let piece = 0; ; piece++) {
      const {message, payload} = await this.backups.read({id, piece});
      if (message.part === 'end') return taken;
      const {slot, offset, length} = payload![0];
      const copy = Uint8Array.from(this.env.pool.view(offset, length));
      this.env.pool.release(slot);
      taken[message.part as 'state' | 'log'].push(copy);
      await between?.(piece);
    }
  }
}

interface Taken {
  full: boolean;
  state: Uint8Array[];
  log: Uint8Array[];
}

async function* from(parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* parts;
}

async function refusal(run: () => Promise<unknown>): Promise<string> {
  try {
    await run();
  } catch (error) {
    if (error instanceof FsError) return `${error.errno} ${error.detail}`;
    throw error;
  }
  return 'not refused';
}

const rowsOf = ({store}: Ledger): string[] =>
  store.range('a', 'z', 1e6).map(([key, value]) => `${key}=${Buffer.from(value).toString('hex')}`);

/** The state that backups lead to, on a host of its own. */
async function replayed(w: World, chain: readonly Taken[]): Promise<Ledger> {
  const env = w.land.machine(`copy ${w.ledger.last}`, {...CALM_MACHINE, pool: POOL}).boot();
  const copy = await StoreCopy.begin(env);
  const pieces: Uint8Array[] = [];
  for await (const piece of piecesIn(from(chain[0]!.state))) pieces.push(Uint8Array.from(piece));
  for (const [index, piece] of pieces.entries()) await copy.put(piece, index + 1 === pieces.length);
  const ledger = await Ledger.open(env);
  expect(ledger.last).toBe(positionOfPiece(pieces.at(-1)!).sequence);
  for (const {log} of chain) {
    const after = {sequence: ledger.last, sum: ledger.sum};
    for await (const {record} of recordsIn(from(log), after)) ledger.follow(record);
  }
  return ledger;
}

describe('a backup', () => {
  test('that is read while everything changes is the state of one moment, and the next ones lead to later ones', () =>
    World.run(async (w) => {
      await w.make(300);
      await w.ledger.checkpointed();
      const full = await w.take(NOTHING, async (piece) => {
        await w.make(piece === 0 ? 40 : 5);
        w.ledger.checkpoint();
        await w.pass(50);
      });
      expect(full.full).toBe(true);
      expect(full.state.length).toBeGreaterThan(1);
      expect(full.log.length).toBeGreaterThan(0);
      const first = await replayed(w, [full]);
      // What was there when it began, and no half of what came then.
      expect(first.last).toBeGreaterThan(300);
      expect(first.last).toBeLessThanOrEqual(w.ledger.last);

      const before = {sequence: w.ledger.last, sum: w.ledger.sum};
      const toNow = await w.take({sequence: first.last, sum: first.sum});
      expect(toNow).toMatchObject({full: false, state: []});
      await w.make(3);
      const more = await w.take(before);
      expect(more).toMatchObject({full: false, state: []});
      const second = await replayed(w, [full, toNow, more]);
      expect([second.last, second.sum, second.store.digest]).toEqual([
        w.ledger.last,
        w.ledger.sum,
        w.ledger.store.digest,
      ]);
      expect(rowsOf(second)).toEqual(rowsOf(w.ledger));
    }));

  test('without anything new has no pieces', () =>
    World.run(async (w) => {
      await w.make(3);
      const {last: sequence, sum} = w.ledger;
      expect(await w.take({sequence, sum})).toEqual({full: false, state: [], log: []});
    }));

  test('is a full one when the log does not reach back, or was another one', () =>
    World.run(async (w) => {
      await w.make(3);
      const {last: sequence, sum} = w.ledger;
      const other = await w.take({sequence, sum: sum ^ 1});
      expect(other.full).toBe(true);
      expect((await w.take({sequence: sequence + 1, sum})).full).toBe(true);
      for (let i = 0; i < 20; i++) {
        await w.make(10);
        await w.ledger.checkpointed();
      }
      const late = await w.take({sequence, sum});
      expect(late.full).toBe(true);
      expect(rowsOf(await replayed(w, [late]))).toEqual(rowsOf(w.ledger));
    }));

  test('is a full one when another release made the one before: it may carry records out otherwise', () =>
    World.run(async (w) => {
      await w.make(3);
      const {last: sequence, sum} = w.ledger;
      expect(await w.backups.begin({sequence, sum, release: '0'})).toMatchObject({full: true});
      expect(await w.backups.begin({sequence, sum, release: '1'})).toMatchObject({full: false});
    }));

  test('keeps the log while it is read, and not when nobody reads on', () =>
    World.run(async (w) => {
      await w.make(3);
      const {last: sequence, sum} = w.ledger;
      const {id} = await w.backups.begin({sequence, sum, release: '1'});
      for (let i = 0; i < 20; i++) {
        await w.make(10);
        await w.ledger.checkpointed();
      }
      expect(await w.ledger.recordsFrom(sequence + 1)).not.toBeNull();
      await w.pass(61_000);
      await w.make(1);
      await w.ledger.checkpointed();
      expect(await w.ledger.recordsFrom(sequence + 1)).toBeNull();
      expect(await refusal(async () => w.backups.read({id, piece: 0}))).toMatch(/^ESTALE/);
    }));

  test('waits for others to be done, and gives its pieces in their order', () =>
    World.run(async (w) => {
      await w.make(3);
      const {id} = await w.backups.begin(START);
      await w.backups.begin(START);
      expect(await refusal(() => w.backups.begin(START))).toMatch(/^EBUSY/);
      expect(await refusal(async () => w.backups.read({id, piece: 1}))).toMatch(/^EINVAL/);
    }));

  test('of which a byte is another one, or a part is missing, is refused', () =>
    World.run(async (w) => {
      await w.make(30);
      await w.ledger.checkpointed();
      await w.make(30);
      const {state, log} = await w.take(NOTHING);
      const sizes = {state: Buffer.concat(state), log: Buffer.concat(log)};
      let at: LogPosition = NOTHING;
      for await (const piece of piecesIn(from(state))) at = {...positionOr(piece, at)};
      const read = async (part: 'state' | 'log', content: Uint8Array): Promise<void> => {
        const read = part === 'state' ? piecesIn(from([content])) : recordsIn(from([content]), at);
        let last: LogPosition = NOTHING;
        for await (const one of read) if ('record' in one) last = one;
        if (part === 'log' && last.sequence !== w.ledger.last) throw new FsError('EIO', 'short');
      };
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom('state' as const, 'log' as const),
          fc.nat(),
          fc.integer({min: 1, max: 255}),
          async (part, place, by) => {
            await read(part, sizes[part]);
            const other = Uint8Array.from(sizes[part]);
            other[place % other.length]! ^= by;
            expect(await refusal(() => read(part, other))).toMatch(/^EIO/);
            const short = sizes[part].subarray(0, 1 + (place % (other.length - 1)));
            expect(await refusal(() => read('log', short))).toMatch(/^EIO/);
          },
        ),
      );
    }));
});

function positionOr(piece: Uint8Array, otherwise: LogPosition): LogPosition {
  try {
    return positionOfPiece(piece);
  } catch {
    return otherwise;
  }
}
