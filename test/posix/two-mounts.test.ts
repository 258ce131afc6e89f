// Goal: two mounts see each other's completed operations. Method: programs on both, compared at every step.
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import {open} from 'node:fs/promises';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {DevCluster} from '../support/dev-cluster.js';

let cluster: DevCluster;
let a: string;
let b: string;
beforeAll(async () => {
  cluster = await DevCluster.up();
  a = cluster.mount;
  b = await cluster.mountAgain('b');
}, 120_000);
afterAll(() => cluster?.down(), 60_000);

describe('two mounts', () => {
  test('what one wrote and closed the other reads, always (C61)', () => {
    for (let round = 0; round < 50; round++) {
      const [w, r] = round % 2 === 0 ? [a, b] : [b, a];
      const text = `round ${round} `.repeat((round * 97) % 2000);
      writeFileSync(join(w, 'file'), text);
      expect(readFileSync(join(r, 'file'), 'utf8')).toBe(text);
      expect(statSync(join(r, 'file')).size).toBe(text.length);
    }
  }, 60_000);

  test('names, sizes, appends and truncates', () => {
    mkdirSync(join(a, 'dir'));
    expect(existsSync(join(b, 'dir'))).toBe(true);
    writeFileSync(join(a, 'dir/x'), '1');
    renameSync(join(b, 'dir/x'), join(b, 'dir/y'));
    expect(readdirSync(join(a, 'dir'))).toEqual(['y']);
    for (let i = 0; i < 20; i++) appendFileSync(join(i % 2 ? a : b, 'dir/y'), `${i};`);
    expect(readFileSync(join(a, 'dir/y'), 'utf8')).toBe(
      `1${Array.from({length: 20}, (_, i) => `${i};`).join('')}`,
    );
    truncateSync(join(b, 'dir/y'), 3);
    expect(readFileSync(join(a, 'dir/y'), 'utf8')).toBe('10;');
    rmSync(join(a, 'dir'), {recursive: true});
    expect(existsSync(join(b, 'dir'))).toBe(false);
  });

  test('100 rounds of both writing interleaved ranges of one file: every byte is the latest of its writer', async () => {
    const PIECE = 5000;
    const PIECES = 40;
    writeFileSync(join(a, 'shared'), Buffer.alloc(PIECE * PIECES));
    const files = [await open(join(a, 'shared'), 'r+'), await open(join(b, 'shared'), 'r+')];
    const write = async (who: number, round: number) => {
      for (let piece = who; piece < PIECES; piece += 2 * 4) {
        await files[who]!.write(
          Buffer.alloc(PIECE, (round * 2 + who) & 255),
          0,
          PIECE,
          piece * PIECE,
        );
      }
    };
    for (let round = 0; round < 100; round++) {
      await Promise.all([write(0, round), write(1, round)]);
      const reader = round % 2 === 0 ? a : b;
      const bytes = readFileSync(join(reader, 'shared'));
      for (let piece = 0; piece < PIECES; piece++) {
        const owner = piece % 8;
        const expected = owner > 1 ? 0 : (round * 2 + owner) & 255;
        const part = bytes.subarray(piece * PIECE, (piece + 1) * PIECE);
        expect(part.every((x) => x === expected)).toBe(true);
      }
    }
    for (const file of files) await file.close();
  }, 120_000);
});
