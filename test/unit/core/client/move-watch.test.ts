import {describe, expect, test} from '@jest/globals';
import {FsError, Lost, Refusal} from '../../../../src/core/base/errors.js';
import type {BytePath} from '../../../../src/core/client/columns.js';
import {MoveWatch} from '../../../../src/core/client/move-watch.js';
import {Pieces} from '../../../../src/core/client/pieces.js';
import {SLOT} from '../../../../src/core/cluster/map.js';
import {PieceWatches} from '../../../../src/core/data/piece-watch.js';
import {SeededRandom} from '../../../../src/core/sim/random.js';

const KIB = 1024;
const layout = {
  k: 2,
  m: 1,
  unitBytes: 4 * KIB,
  chunkBytes: 32 * KIB,
  groups: [1],
  generation: 0,
};
const piece = (at: number) => [{offset: at * 4 * KIB, length: 1}];
const chunk = (chunk: number) => ({oid: 5, chunk, generation: 0});

/** Three servers that note; `fails` of one is thrown by its next answer, after it was asked. */
class Group {
  readonly servers = [1, 2, 3].map((id) => ({
    watches: new PieceWatches(),
    fails: null as Error | null,
    info: {state: SLOT.ready as number, server: {uuid: `u${id}`}, since: 1},
  }));
  doubt = false;
  readonly watch: MoveWatch;

  constructor() {
    const call = async (_group: number, slot: number, _op: unknown, q: never): Promise<unknown> => {
      const {watches, fails} = this.servers[slot]!;
      const {pass} = q as {pass: number};
      const all = watches.pass('m', pass, q);
      this.servers[slot]!.fails = null;
      if (fails !== null) throw fails;
      if (all === null) return {message: {known: false, pieces: [], doubt: false}};
      const pieces = all.map((one, i) => one - (all[i - 1] ?? 0));
      return {message: {known: true, pieces, doubt: this.doubt}};
    };
    const map = (): object => ({
      epoch: 1,
      groups: [{id: 1, slots: this.servers.map(({info}) => ({...info}))}],
    });
    const columns = {
      get map() {
        return map();
      },
      call,
    };
    const path = {columns, random: new SeededRandom(1), stats: {dataCalls: 0}};
    const object = {oid: 5, layout};
    this.watch = new MoveWatch(path as unknown as BytePath, object, new Pieces(layout, 100 * KIB));
  }

  async changed(): Promise<number[]> {
    const news = await this.watch.ask(1000);
    if (typeof news === 'string') throw new Error(news);
    return [...news.pieces].sort((a, b) => a - b);
  }
}

describe('what servers say of an object that is moved', () => {
  test('is what any of them has noted, since the time before', async () => {
    const {servers, ...group} = new Group();
    expect(await group.watch.ask(1000)).toEqual({pieces: [], doubt: false});
    servers[0]!.watches.note(chunk(0), piece(1));
    servers[2]!.watches.note(chunk(2), piece(3));
    expect(await group.watch.ask(1000)).toEqual({pieces: [1, 11], doubt: false});
    expect(await group.watch.ask(1000)).toEqual({pieces: [], doubt: false});
  });

  test('is not missed when one does not answer, nor what changed before it does', async () => {
    for (const fails of [new Lost('gone'), new Refusal('StaleEpoch', '2'), new FsError('EIO')]) {
      const group = new Group();
      const [first, second] = group.servers;
      await group.changed();
      first!.watches.note(chunk(0), piece(1));
      second!.watches.note(chunk(0), piece(2));
      second!.fails = fails;
      expect(await group.watch.ask(1000)).toBe('unanswered');
      first!.watches.note(chunk(1), piece(0));
      expect(await group.changed()).toEqual([1, 2, 4]);
      expect(await group.changed()).toEqual([]);
    }
  });

  test('is nothing that can be relied on once one was started again, lost, or replaced', async () => {
    const forgetful = new Group();
    await forgetful.changed();
    forgetful.servers[1]!.watches = new PieceWatches();
    expect(await forgetful.watch.ask(1000)).toBe('lost');
    for (const change of [{state: SLOT.away}, {since: 2}, {server: {uuid: 'other'}}]) {
      const group = new Group();
      await group.changed();
      Object.assign(group.servers[2]!.info, change);
      expect(await group.watch.ask(1000)).toBe('lost');
    }
  });

  test('a change that was given up half way is told, and a fence ends it', async () => {
    const group = new Group();
    await group.changed();
    group.doubt = true;
    expect(await group.watch.ask(1000)).toMatchObject({doubt: true});
    group.servers[0]!.fails = new Refusal('Fenced', '7');
    await expect(group.watch.ask(1000)).rejects.toThrow('7');
  });
});
