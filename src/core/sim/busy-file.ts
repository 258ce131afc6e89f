import {KIB} from '../base/units.js';
import {type Clock, sleep} from '../env/clock.js';
import type {SeededRandom} from './random.js';
import type {Recording} from './recorder.js';

const BYTES = 160 * KIB;
const WRITE_BYTES = 6 * KIB;

/** Never leaves a file alone for some seconds: for those who move it meanwhile. It is written at random, cut, made longer, synced. */
export async function busyFile(
  recorder: Recording,
  clock: Clock,
  dice: SeededRandom,
  dir: number,
): Promise<void> {
  const {oid} = (await recorder.create(dir, 'busy', {exclusive: false, truncate: false})).attr;
  const write = async (offset: number, most: number): Promise<void> => {
    const bytes = new Uint8Array(dice.range(1, most));
    dice.fill(bytes);
    await recorder.write(oid, offset, bytes, false);
  };
  try {
    if ((await recorder.getattr(oid)).size < BYTES / 2) await write(BYTES - 1, 1);
    // Some write all of it, some come back to the same place.
    const spread = dice.pick([8 * KIB, BYTES, BYTES]);
    const pause = dice.pick([10, 60, 300]);
    for (let left = dice.range(10, 40); left > 0; left--) {
      const what = dice.below(20);
      if (what < 12) await write(dice.below(spread), WRITE_BYTES);
      else if (what < 14) await recorder.read(oid, dice.below(spread), WRITE_BYTES);
      else if (what < 16) await recorder.fsync(oid);
      else if (what < 17) await recorder.getattr(oid);
      else if (what < 18) {
        // What was cut off is zeros when the file is longer again.
        await recorder.truncate(oid, dice.below(BYTES));
        if (dice.chance(0.7)) await recorder.truncate(oid, dice.below(BYTES));
      } else if (what < 19) await write(BYTES - dice.below(WRITE_BYTES), 1);
      await sleep(clock, dice.float() * pause);
    }
  } finally {
    recorder.release(oid);
  }
}
