// The programs of a thrash, in a process of their own (it waits for mounts, so that the one that looks after the cluster never does).
import {SeededRandom} from '../../src/core/sim/random.js';
import {Calls, Fullness, type Worst} from './thrash-calls.js';
import {type Mounts, SIDES, type Side, type ThrashFile} from './thrash-file.js';
import {Lane} from './thrash-lane.js';

export interface WorkerSettings {
  seed: number;
  mounts: Mounts;
  /** One for each program; they exist. */
  folders: string[];
  boundMs: number;
}

/** What the worker is asked. */
export type Ask =
  | {do: 'full'; full: boolean}
  /** Answer: `Lent`, or null. */
  | {do: 'lend'; bytesMin: number}
  | {do: 'read' | 'write' | 'return'; file: number}
  /** All programs end, synced. */
  | {do: 'finish'}
  /** Through one mount; answer: how many bytes. */
  | {do: 'verify'; side: Side}
  | {do: 'report'};

export interface Lent {
  file: number;
  oid: number;
  bytes: number;
  path: string;
}

export interface Report {
  read: number;
  wrote: number;
  files: number;
  worst: Record<string, Worst>;
}

export type ToWorker = Ask & {id: number};
/** An answer; or, without `id`, something that must not be. */
export type FromWorker = {id: number; value: unknown} | {id?: number; error: string};

const say = (message: FromWorker): boolean => process.send!(message);

function told(error: unknown): string {
  const {name, message, stack} = error as Error;
  return name === 'Wrong' ? message : (stack ?? String(error));
}

class Worker {
  readonly #lanes: Lane[];
  readonly #calls: Calls;
  readonly #fullness = new Fullness();
  readonly #moved = {read: 0, wrote: 0};
  readonly #lent = new Map<number, ThrashFile>();
  readonly #random: SeededRandom;
  readonly #ended: Promise<void>;

  constructor({seed, mounts, folders, boundMs}: WorkerSettings) {
    this.#random = new SeededRandom(seed).split('programs');
    this.#calls = new Calls(boundMs, (what) => say({error: `hang: ${what}`}));
    const ground = {
      mounts,
      calls: this.#calls,
      fullness: this.#fullness,
      moved: this.#moved,
    };
    let files = 0;
    const nextId = () => ++files;
    this.#lanes = folders.map(
      (folder, i) => new Lane(ground, this.#random.split(folder), (i % 2) as Side, folder, nextId),
    );
    void this.#calls.watch();
    this.#ended = Promise.all(
      this.#lanes.map((lane) => lane.run().catch((error: unknown) => say({error: told(error)}))),
    ).then(() => {});
  }

  async answer(ask: Ask): Promise<unknown> {
    switch (ask.do) {
      case 'full':
        return ask.full ? this.#fullness.begin() : this.#fullness.end();
      case 'lend':
        return this.#lend(ask.bytesMin);
      case 'read':
        // Each takes the lease from the other, so that both ask the columns.
        for (const side of SIDES) await this.#lent.get(ask.file)!.readWhole(side, true);
        return;
      case 'write':
        return this.#rewrite(this.#lent.get(ask.file)!);
      case 'return':
        await this.#lent.get(ask.file)!.close();
        this.#lent.get(ask.file)!.lent = false;
        return;
      case 'finish':
        for (const lane of this.#lanes) lane.end();
        return this.#ended;
      case 'verify':
        return this.#verify(ask.side);
      case 'report':
        return this.#report();
    }
  }

  async #lend(bytesMin: number): Promise<Lent | null> {
    const lane = this.#random.pick(this.#lanes);
    const file = await lane.lend(bytesMin);
    if (file === null) return null;
    this.#lent.set(file.id, file);
    return {file: file.id, oid: file.oid, bytes: file.cells.bytes, path: file.path};
  }

  async #rewrite(file: ThrashFile): Promise<void> {
    await file.write(0, 0, file.cells.count);
    await file.sync();
  }

  async #verify(side: Side): Promise<number> {
    const before = this.#moved.read;
    for (const lane of this.#lanes) await lane.verify(side);
    return this.#moved.read - before;
  }

  #report(): Report {
    const files = this.#lanes.reduce((sum, lane) => sum + lane.files.length, 0);
    return {...this.#moved, files, worst: this.#calls.worst};
  }
}

const worker = new Worker(JSON.parse(process.argv[2]!) as WorkerSettings);
process.on('disconnect', () => process.exit());
process.on('message', (message: ToWorker) => {
  worker.answer(message).then(
    (value) => say({id: message.id, value: value ?? null}),
    (error: unknown) => say({id: message.id, error: told(error)}),
  );
});
