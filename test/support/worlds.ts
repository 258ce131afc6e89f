import {expect} from '@jest/globals';
import type {WorldShape} from '../../src/core/sim/swarm.js';
import {explain, World, type WorldResult} from '../../src/core/sim/world.js';
import {defer} from './sim.js';

/** Worlds of one test file. A failure names its seed; `npm run sim -- --seed N --verbose` shows that world. */
export class Worlds {
  /** How often each transition of slots and groups was taken in all of them. */
  readonly taken = new Map<string, number>();

  /** `flags` of the command that shows it. */
  async run(shape: WorldShape, flags = ''): Promise<WorldResult> {
    try {
      const result = await new World(shape, defer, null).run();
      for (const [key, count] of Object.entries(result.transitions))
        this.taken.set(key, (this.taken.get(key) ?? 0) + count);
      return result;
    } catch (error) {
      const command = `npm run sim -- --seed ${shape.seed}${flags} --verbose`;
      throw new Error(`seed ${shape.seed}: ${explain(error)} | ${command}`, {cause: error});
    }
  }

  /** Seeds from `first` to `last`; each `twice`th runs twice and must take the same path. */
  async all(
    first: number,
    last: number,
    twice: number,
    draw: (seed: number) => WorldShape,
    flags = '',
  ): Promise<void> {
    for (let seed = first; seed <= last; seed++) {
      const {digest} = await this.run(draw(seed), flags);
      if (seed % twice === 0) expect((await this.run(draw(seed), flags)).digest).toBe(digest);
    }
  }
}
