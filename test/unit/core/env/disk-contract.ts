import {expect, test} from '@jest/globals';
import type {BufferPool} from '../../../../src/core/base/pool.js';
import type {Disk} from '../../../../src/core/env/disk.js';

export interface DiskFixture {
  disk: Disk;
  /** The same folder, as another process would open it. */
  again(): Promise<Disk>;
  pool: BufferPool;
  /** Runs a story to its end: a simulated disk needs its virtual time to pass. */
  run<T>(story: () => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

const FAR = 2 ** 40;

/** What every Disk does. `make` gives an empty folder. */
export function diskContract(make: () => Promise<DiskFixture>): void {
  const check = (name: string, story: (fixture: DiskFixture) => Promise<void>): void => {
    test(name, async () => {
      const fixture = await make();
      try {
        await fixture.run(() => story(fixture));
      } finally {
        await fixture.close();
      }
    });
  };
  const fill = (pool: BufferPool, text: string): {slot: number; offset: number} => {
    const slot = pool.alloc(16384);
    const offset = pool.payload(slot);
    pool.view(offset, text.length).set(Buffer.from(text, 'latin1'));
    return {slot, offset};
  };

  check('a missing file is ENOENT without create', async ({disk}) => {
    await expect(disk.open('no/such', false)).rejects.toMatchObject({errno: 'ENOENT'});
    expect(await disk.readFile('no/such')).toBeNull();
    expect(await disk.remove('no/such')).toBe(false);
    expect(await disk.list('no')).toEqual([]);
    await disk.removeTree('no');
  });

  check('ranges are written and read in order, holes and the rest are zeros', async (f) => {
    const file = await f.disk.open('columns/0a/f', true);
    const {slot, offset} = fill(f.pool, 'abcdefgh');
    await file.write([
      {fileOffset: 4096, memoryOffset: offset, length: 4},
      {fileOffset: FAR, memoryOffset: offset + 4, length: 4},
      {fileOffset: 4097, memoryOffset: offset + 4, length: 2},
    ]);
    expect(await file.size()).toBe(FAR + 4);
    const into = f.pool.alloc(16384);
    const at = f.pool.payload(into);
    f.pool.view(at, 64).fill(0xff);
    await file.read([
      {fileOffset: 4095, memoryOffset: at, length: 6},
      {fileOffset: FAR + 2, memoryOffset: at + 8, length: 6},
    ]);
    expect(f.pool.view(at, 6).toString('latin1')).toBe('\0aefd\0');
    expect(f.pool.view(at + 8, 6).toString('latin1')).toBe('gh\0\0\0\0');
    expect(await file.allocated()).toBeLessThanOrEqual(4 * 4096);
    await file.sync();
    await file.close();
    f.pool.release(slot);
    f.pool.release(into);
  });

  check('truncate drops, punch makes zeros and keeps the size', async (f) => {
    const file = await f.disk.open('f', true);
    const {slot, offset} = fill(f.pool, 'x'.repeat(12288));
    await file.write([{fileOffset: 0, memoryOffset: offset, length: 12288}]);
    await file.punch(4096, 4096);
    expect(await file.size()).toBe(12288);
    await file.truncate(100);
    expect(await file.size()).toBe(100);
    await file.truncate(8192);
    const into = f.pool.alloc(16384);
    const at = f.pool.payload(into);
    await file.read([{fileOffset: 0, memoryOffset: at, length: 8192}]);
    expect(f.pool.view(at, 8192).toString('latin1')).toBe('x'.repeat(100) + '\0'.repeat(8092));
    await file.close();
    f.pool.release(slot);
    f.pool.release(into);
  });

  check('small files are replaced whole; names are listed in order', async ({disk}) => {
    await disk.writeFile('d/b', Buffer.from('one'));
    await disk.writeFile('d/a', Buffer.from('two'));
    await disk.writeFile('d/b', Buffer.from('3'));
    await disk.writeFile('d/e/f', Buffer.from('deep'));
    expect(Buffer.from((await disk.readFile('d/b'))!).toString()).toBe('3');
    expect(await disk.list('d')).toEqual(['a', 'b', 'e']);
    expect(await disk.remove('d/a')).toBe(true);
    expect(await disk.list('d')).toEqual(['b', 'e']);
    await disk.removeTree('d');
    expect(await disk.list('d')).toEqual([]);
    await disk.syncAll();
  });

  check('a journal grows, is cut, and is there when opened again', async ({disk}) => {
    const journal = await disk.journal('log/j');
    expect(journal.size).toBe(0);
    journal.append(Buffer.from('hello '));
    journal.append(Buffer.from('world'));
    await Promise.all([journal.sync(), journal.sync()]);
    expect(journal.size).toBe(11);
    await journal.truncate(5);
    journal.append(Buffer.from('!'));
    expect(Buffer.from(await journal.read()).toString()).toBe('hello!');
    await journal.close();
    const reopened = await disk.journal('log/j');
    expect(reopened.size).toBe(6);
    reopened.append(Buffer.from('?'));
    expect(Buffer.from(await reopened.read()).toString()).toBe('hello!?');
    await reopened.close();
  });

  check('one process at a time; space is counted', async (f) => {
    await f.disk.lock();
    const other = await f.again();
    await expect(other.lock()).rejects.toMatchObject({errno: 'EBUSY'});
    const space = await f.disk.space();
    expect(space.freeBytes).toBeGreaterThan(0);
    expect(space.freeBytes).toBeLessThanOrEqual(space.totalBytes);
    await f.disk.close();
    await other.lock();
    await other.close();
  });
}
