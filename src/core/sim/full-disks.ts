import type {Ms} from '../base/ids.js';
import {KIB, MIB} from '../base/units.js';
import type {Call} from './call.js';
import type {SimMachine} from './machine.js';
import type {SeededRandom} from './random.js';
import {SimFailure} from './scheduler.js';

/** What data servers leave alone of a large disk (data/room.ts). */
const RESERVE_BYTES = 64 * MIB;
/** By now after the end everybody knows that there is space: servers measure, say so, and clients have written through for long enough. */
const KNOWN_MS: Ms = 40_000;

/** A process that cannot go on notices it within this. */
const STOPS_MS: Ms = 500;

/** How full a disk is made: so that only a reserve is left for data, or nothing to speak of. */
export type Fullness = 'reserve' | 'nothing';

/** Disks that others fill for a while. */
export class FullDisks {
  readonly #now: () => Ms;
  readonly #full = new Map<SimMachine, Fullness>();
  readonly #desperate = new Map<SimMachine, Ms>();
  #ended: Ms = Number.NEGATIVE_INFINITY;

  constructor(now: () => Ms) {
    this.#now = now;
  }

  fill(machine: SimMachine, how: Fullness, random: SeededRandom): void {
    const some = random.below(random.pick([1, 64, 256]) * KIB);
    machine.disk.squeeze(how === 'nothing' ? some : RESERVE_BYTES + some);
    this.#full.set(machine, how);
  }

  relieve(machine: SimMachine): void {
    machine.disk.squeeze(null);
    if (this.#full.get(machine) === 'nothing') this.#desperate.set(machine, this.#now());
    this.#full.delete(machine);
    this.#ended = this.#now();
  }

  /** May its processes stop because it is full? */
  desperate(machine: SimMachine): boolean {
    const ended = this.#desperate.get(machine) ?? Number.NEGATIVE_INFINITY;
    return this.#full.get(machine) === 'nothing' || this.#now() < ended + STOPS_MS;
  }

  /** A program was told ENOSPC: throws if that is not to be understood. What was written before is told of by the next fsync. */
  judge(call: Call): void {
    const felt = this.#full.size > 0 || this.#now() < this.#ended + KNOWN_MS;
    if (!felt && call.kind !== 'fsync')
      throw new SimFailure(`${call.kind}: ENOSPC, and no disk is full`);
    const frees =
      call.kind === 'unlink' ||
      call.kind === 'rmdir' ||
      (call.kind === 'truncate' && call.size === 0);
    if (frees && ![...this.#full.values()].includes('nothing'))
      throw new SimFailure(`${call.kind}: ENOSPC, which the reserve is for`);
  }
}
