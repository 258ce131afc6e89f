import {FsError, Lost, messageOf, Refusal} from '../base/errors.js';
import {KIB} from '../base/units.js';
import {type OpenedClient, openClient} from '../client/index.js';
import {Pace} from '../client/pace.js';
import {moveObject} from '../client/relocate.js';
import {MOVE, NO_TASK} from '../cluster/moves.js';
import type {InodeInfo, MovesReply, MovesRequest} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import {asAdmin} from './admin.js';
import type {SimEnv, SimMachine} from './machine.js';
import type {SeededRandom} from './random.js';
import type {WorldShape} from './swarm.js';

const GAP_MS = 3000;
const ASK_MS = 3000;
const CLOSE_MS = 20_000;
/** Bytes a second of moves that take long enough for programs to write in between. */
const RATES = [20, 100, 1000].map((rate) => rate * KIB);
/** Copies take some ms here. */
const PATIENCES_MS = [
  [1, 20, 400, 6000],
  [5, 10, 15, 20],
];
const LARGE_BYTES = 64 * KIB;
/** A life of the mover moves so many objects. */
const OBJECTS = 4;

/** Moves objects to other layouts of the same scheme while programs use them; and dies now and then in the middle of it. */
export class Moves {
  readonly #address: string;
  readonly #machine: () => SimMachine;
  readonly #pause: (ms: number) => Promise<void>;
  readonly #note: (line: string) => void;
  readonly #shape: WorldShape;
  #stopped = false;
  /** Objects that were moved, and those of them of which something was copied again. */
  readonly counts = {moved: 0, inRounds: 0};

  /** `machine` is a host for the mover. */
  constructor(
    address: string,
    shape: WorldShape,
    machine: () => SimMachine,
    world: {pause(ms: number): Promise<void>; note(line: string): void},
  ) {
    this.#address = address;
    this.#shape = shape;
    this.#machine = machine;
    this.#pause = (ms) => world.pause(ms);
    this.#note = (line) => world.note(line);
  }

  stop(): void {
    this.#stopped = true;
  }

  async run(random: SeededRandom): Promise<void> {
    while (!this.#stopped) {
      await this.#pause(random.float() * GAP_MS);
      if (this.#stopped) return;
      if (random.chance(0.3)) await this.#order(random);
      else await this.#life(random);
    }
  }

  /** A file is to be converted, by the servers themselves; or that is paused, or goes on. Folders stay: programs would see what they were given. */
  async #order(random: SeededRandom): Promise<void> {
    const {unitBytes, chunkBytes, scheme} = this.#shape;
    const unit = unitBytes * random.pick([1, 2]);
    const chunk = Math.max(chunkBytes * random.pick([1, 2]), unit * scheme.k);
    const files = (await this.inodes())?.filter(({layout}) => layout !== null) ?? [];
    if (files.length === 0) return;
    const convert = {...NO_TASK, kind: MOVE.convert, root: random.pick(files).oid};
    const add = {...convert, unitBytes: unit, chunkBytes: chunk};
    const paused = random.pick([0, 0, 0, 1, 2]);
    const reply = await this.#ask(paused === 0 ? {add} : {paused});
    this.#note(`moves ordered: ${reply === null ? 'no answer' : reply.tasks.length}`);
  }

  #ask(request: Partial<MovesRequest>): Promise<MovesReply | null> {
    return quiet(() =>
      asAdmin(this.#machine().boot(), this.#address, async (peer) => {
        const {message} = await peer.call(OPS.moves, request, {deadlineMs: ASK_MS});
        return message;
      }),
    );
  }

  /** Has everything been moved that was to be? */
  async rest(): Promise<boolean> {
    const reply = await this.#ask({paused: 1});
    return reply?.tasks.every(({ended}) => ended) ?? false;
  }

  /** What is known of every object; null: the meta server did not answer. */
  async inodes(): Promise<InodeInfo[] | null> {
    return quiet(() => this.#inodes(this.#machine().boot()));
  }

  async #inodes(env: SimEnv): Promise<InodeInfo[]> {
    return asAdmin(env, this.#address, async (peer) => {
      const {message} = await peer.call(OPS.inodes, {}, {deadlineMs: ASK_MS});
      return message.inodes;
    });
  }

  async #life(random: SeededRandom): Promise<void> {
    const machine = this.#machine();
    const env = machine.boot();
    let over = false;
    if (random.chance(0.3)) {
      const at = random.float() * GAP_MS;
      void this.#pause(at).then(() => {
        if (over) return;
        this.#note('the mover dies');
        over = true;
        machine.kill(false);
      });
    }
    const dead = new Promise<null>((resolve) => env.actor.onDeath(() => resolve(null)));
    const work = quiet(async () => {
      const client = await openClient(env, {
        meta: this.#address,
        name: 'mover',
        connectMs: ASK_MS,
      });
      await this.#objects(env, client, random);
      await client.close(CLOSE_MS);
    });
    await Promise.race([work, dead]);
    over = true;
    if (!env.actor.dead) machine.kill(false);
  }

  async #objects(env: SimEnv, client: OpenedClient, random: SeededRandom): Promise<void> {
    const {unitBytes, chunkBytes, scheme} = this.#shape;
    const files = (await this.#inodes(env)).filter(({layout}) => layout !== null);
    const busy = this.#shape.slowMoves ? files.filter(({size}) => size > LARGE_BYTES) : [];
    const order = {paused: false, busy: false, rate: random.pick(RATES)};
    const slowly = this.#shape.slowMoves && {
      pace: new Pace(env.clock, client.parts.path.stats, () => order),
      sizes: {
        wholeBytes: 0,
        stepBytes: unitBytes * scheme.k,
        patienceMs: random.pick(PATIENCES_MS),
      },
    };
    for (let left = OBJECTS; left > 0 && files.length > 0 && !this.#stopped; left--) {
      const {oid, layout} = random.pick(busy.length > 0 && random.chance(0.9) ? busy : files);
      const unit = unitBytes * random.pick([1, 1, 2]);
      const chunk = Math.max(chunkBytes * random.pick([1, 2]), unit * scheme.k);
      const {groups} = layout!;
      const target = {...scheme, unitBytes: unit, chunkBytes: chunk, groups, groupCount: 1};
      try {
        const {is, bytes, rounds} = await moveObject(client, oid, () => target, {
          stopped: () => this.#stopped,
          ...slowly,
        });
        if (is === 'moved') this.counts.moved++;
        if (is === 'moved' && rounds > 1) this.counts.inRounds++;
        this.#note(`move of object ${oid}: ${is}, ${bytes} bytes, ${rounds} rounds`);
      } catch (error) {
        this.#note(`move of object ${oid}: ${messageOf(error)}`);
      }
    }
  }
}

async function quiet<T>(work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Lost || error instanceof Refusal || error instanceof FsError) return null;
    throw error;
  }
}
