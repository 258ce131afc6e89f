import {describe, expect, test} from '@jest/globals';
import {CALM_MACHINE, SimLand} from '../../../../src/core/sim/machine.js';
import {defer, play} from '../../../support/sim.js';
import {diskContract} from '../env/disk-contract.js';

describe('simulated disk', () => {
  diskContract(async () => {
    const land = new SimLand(1, defer);
    const machine = land.machine('m');
    const {disk, pool} = machine.boot();
    return {
      disk,
      pool,
      again: () => Promise.resolve(machine.disk.attach(land.actor('other'), pool)),
      run: (story) => play(land, story),
      close: () => Promise.resolve(),
    };
  });

  /** Writes 16 blocks of 'a' durably, then of 'b' without a sync, crashes, and tells what is left. */
  async function crash(
    seed: number,
    power: boolean,
  ): Promise<{letters: Set<string>; torn: boolean}> {
    const land = new SimLand(seed, defer);
    const machine = land.machine('m');
    const {disk, pool} = machine.boot();
    await play(land, async () => {
      const file = await disk.open('f', true);
      const slot = pool.alloc(65536);
      const at = pool.payload(slot);
      pool.view(at, 65536).fill('a');
      await file.write([{fileOffset: 0, memoryOffset: at, length: 65536}]);
      await file.sync();
      pool.view(at, 65536).fill('b');
      await file.write([{fileOffset: 0, memoryOffset: at, length: 65536}]);
    });
    machine.kill(power);
    const bytes = Buffer.from(machine.disk.peek('f', 0, 65536));
    const letters = new Set<string>();
    let torn = false;
    for (let sector = 0; sector < 128; sector++) {
      const text = bytes.toString('latin1', sector * 512, sector * 512 + 512);
      expect(text).toBe(text[0]!.repeat(512));
      letters.add(text[0]!);
      if (sector % 8 > 0 && bytes[sector * 512] !== bytes[sector * 512 - 1]) torn = true;
    }
    return {letters, torn};
  }

  test('C130: SIGKILL keeps what was written; a power cut loses or tears what was not synced', async () => {
    let torn = 0;
    let lost = 0;
    for (let seed = 1; seed <= 40; seed++) {
      expect([...(await crash(seed, false)).letters]).toEqual(['b']);
      const after = await crash(seed, true);
      if (after.torn) torn++;
      if (after.letters.has('a')) lost++;
      expect([...after.letters].every((letter) => letter === 'a' || letter === 'b')).toBe(true);
    }
    expect(torn).toBeGreaterThan(5);
    expect(lost).toBeGreaterThan(10);
  });

  test('C130: synced bytes, names and journals survive every power cut; unsynced removals may come back', async () => {
    let back = 0;
    for (let seed = 1; seed <= 40; seed++) {
      const land = new SimLand(seed, defer);
      const machine = land.machine('m');
      const {disk} = machine.boot();
      await play(land, async () => {
        await disk.writeFile('kept', Buffer.from('kept'));
        await disk.writeFile('gone', Buffer.from('gone'));
        await disk.remove('gone');
        const journal = await disk.journal('j');
        journal.append(Buffer.from('synced'));
        await journal.sync();
        journal.append(Buffer.from('perhaps'));
      });
      machine.kill(true);
      expect(machine.disk.peek('kept', 0, 4).toString()).toBe(Buffer.from('kept').join());
      expect(Buffer.from(machine.disk.peek('j', 0, 6)).toString()).toBe('synced');
      if (machine.disk.file('gone') !== undefined) back++;
    }
    expect(back).toBeGreaterThan(5);
    expect(back).toBeLessThan(35);
  });

  test('a full disk is ENOSPC, faults are what was asked for', async () => {
    const shape = {...CALM_MACHINE, disk: {...CALM_MACHINE.disk, capacityBytes: 8192}};
    const land = new SimLand(1, defer);
    const machine = land.machine('m', shape);
    const {disk, pool} = machine.boot();
    await play(land, async () => {
      const file = await disk.open('f', true);
      const slot = pool.alloc(16384);
      const memoryOffset = pool.payload(slot);
      await expect(
        file.write([
          {fileOffset: 0, memoryOffset, length: 4096},
          {fileOffset: 8192, memoryOffset, length: 8192},
        ]),
      ).rejects.toMatchObject({errno: 'ENOSPC'});
      expect(await file.allocated()).toBe(4096);
      machine.disk.fault = (action) => (action === 'read' ? 'EIO' : null);
      await expect(file.read([{fileOffset: 0, memoryOffset, length: 4096}])).rejects.toMatchObject({
        errno: 'EIO',
      });
      pool.release(slot);
      expect(pool.used).toBe(0);
    });
  });

  test('a flipped bit stays flipped over a power cut', async () => {
    const land = new SimLand(1, defer);
    const machine = land.machine('m');
    const {disk} = machine.boot();
    await play(land, () => disk.writeFile('f', Buffer.alloc(5000)));
    expect(machine.disk.file('f')!.flip(4500, 3)).toBe(true);
    machine.kill(true);
    expect(machine.disk.peek('f', 4500, 1)[0]).toBe(8);
  });
});
