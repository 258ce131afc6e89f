import {expect, test} from '@jest/globals';
import {KIB, MIB} from '../../../../src/core/base/units.js';
import {Room} from '../../../../src/core/data/room.js';
import {CALM_MACHINE, SimLand} from '../../../../src/core/sim/machine.js';
import {defer, play} from '../../../support/sim.js';

const CAPACITY = 1_000_000;
const RESERVE = 100_000;

function run(
  used: number,
  story: (room: Room) => Promise<void>,
  capacityBytes = CAPACITY,
  reserve: number | null = RESERVE,
): Promise<void> {
  const land = new SimLand(1, defer);
  const disk = {...CALM_MACHINE.disk, capacityBytes};
  const machine = land.machine('d', {...CALM_MACHINE, disk});
  machine.disk.create('f').write(0, new Uint8Array(used));
  return play(land, async () => {
    const room = new Room(machine.boot(), reserve ?? undefined);
    await room.start();
    await story(room);
    room.close();
  });
}

test('what overwrites blocks is not refused, however fast it comes (6.4 point 15)', () =>
  run(850_000, async (room) => {
    // Ten times what is free; nothing more is used.
    for (let i = 0; i < 50; i++) await room.take(10_000, false);
    await Promise.all(Array.from({length: 50}, () => room.take(10_000, true)));
  }));

test('what does not fit is refused; a repair may have half of the reserve', () =>
  run(880_000, async (room) => {
    await expect(room.take(30_000, false)).rejects.toMatchObject({errno: 'ENOSPC'});
    await room.take(30_000, true);
    await expect(room.take(80_000, true)).rejects.toMatchObject({errno: 'ENOSPC'});
    const all = await Promise.allSettled(Array.from({length: 30}, () => room.take(21_000, false)));
    expect(all.filter(({status}) => status === 'fulfilled')).toEqual([]);
  }));

test('on a tiny disk, too, half of the reserve takes some writes of a repair, or it would never end', () =>
  run(
    17 * MIB,
    async (room) => {
      await expect(room.take(4096, false)).rejects.toMatchObject({errno: 'ENOSPC'});
      for (let i = 0; i < 4; i++) await room.take(256 * KIB, true);
    },
    20 * MIB,
    null,
  ));
