import {existsSync, mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {describe, expect, test} from '@jest/globals';
import {BufferPool, poolBytes} from '../../../../src/core/base/pool.js';
import {IsalCodec} from '../../../../src/core/os/codec-isal.js';
import {openBufferedDisk} from '../../../../src/core/os/disk-buffered.js';
import {diskContract} from '../env/disk-contract.js';

const SHAPE = {small: 8, medium: 1, large: 0};
const pool = new BufferPool(new IsalCodec().createMemory(poolBytes(SHAPE)), SHAPE);
const fresh = (): string => mkdtempSync(join(tmpdir(), 'cpfs-buffered-'));

describe('a folder as a disk', () => {
  diskContract(async () => {
    const folder = fresh();
    const disk = openBufferedDisk(folder, pool);
    return {
      disk,
      pool,
      again: async () => openBufferedDisk(folder, pool),
      run: (story) => story(),
      close: async () => {
        await disk.close();
        rmSync(folder, {recursive: true});
      },
    };
  });

  test.each(['../x', '/etc/x', 'a/../../x', '..', 'a\0b'])('%j does not leave it', async (path) => {
    const folder = fresh();
    const disk = openBufferedDisk(folder, pool);
    const refused = {errno: 'EINVAL'};
    expect(() => disk.open(path, true)).toThrow(expect.objectContaining(refused));
    await expect(disk.readFile(path)).rejects.toMatchObject(refused);
    await expect(disk.remove(path)).rejects.toMatchObject(refused);
    await expect(disk.list(path)).rejects.toMatchObject(refused);
    expect(existsSync(join(folder, '../x'))).toBe(false);
    await disk.close();
    rmSync(folder, {recursive: true});
  });

  test('a write of a small file that fails leaves the old one', async () => {
    const folder = fresh();
    const disk = openBufferedDisk(folder, pool);
    await disk.writeFile('f', Buffer.from('old'));
    await expect(disk.writeFile('f/g', Buffer.from('new'))).rejects.toMatchObject({
      errno: expect.stringMatching(/ENOTDIR|EEXIST/),
    });
    expect(readFileSync(join(folder, 'f'), 'utf8')).toBe('old');
    await disk.close();
    rmSync(folder, {recursive: true});
  });

  test('many syncs at once are few', async () => {
    const folder = fresh();
    const disk = openBufferedDisk(folder, pool);
    const journal = await disk.journal('j');
    const all = Array.from({length: 100}, () => {
      journal.append(Buffer.from('x'));
      return journal.sync();
    });
    // The first runs; all others share the one that comes after it.
    expect(new Set(all).size).toBe(2);
    await Promise.all(all);
    expect(new Set([disk.syncAll(), disk.syncAll(), disk.syncAll()]).size).toBe(2);
    await disk.syncAll();
    await journal.close();
    await disk.close();
    rmSync(folder, {recursive: true});
  });
});
