// The programs of a power test, in a process of their own: they wait for mounts, and whoever looks after the machines must not.
import {SeededRandom} from '../../src/core/sim/random.js';
import type {Rows} from './power-file.js';
import {PowerLane} from './power-lane.js';

export interface PowerSettings {
  seed: number;
  /** One for each program; relative to the mount, there and synced. */
  folders: string[];
}

/** What it is asked. Answers: nothing; how many calls were made and which failed (`halt`); what was found (`judge`). */
export type PowerAsk =
  | {do: 'go'; mount: string}
  | {do: 'halt'}
  | {do: 'judge'; mount: string; rows: (Rows | null)[]};

export interface Halted {
  done: number;
  failed: string[];
}

/** What was found by a look at everything after a cut. */
export interface Looked {
  files: number;
  /** Blocks that could not be read. */
  unread: number;
}

const {seed, folders} = JSON.parse(process.argv[2]!) as PowerSettings;
const random = new SeededRandom(seed);
const lanes = folders.map((folder, i) => new PowerLane(folder, random.split(folder), i + 1));

async function answer(ask: PowerAsk): Promise<unknown> {
  switch (ask.do) {
    case 'go':
      for (const lane of lanes) lane.go(ask.mount);
      return null;
    case 'halt': {
      await Promise.all(lanes.map((lane) => lane.halt()));
      return {
        done: lanes.reduce((sum, lane) => sum + lane.done, 0),
        failed: lanes.flatMap(({failed}) => failed),
      } satisfies Halted;
    }
    case 'judge': {
      const all: Looked = {files: 0, unread: 0};
      for (const [i, lane] of lanes.entries()) {
        const {files, unread} = await lane.judge(ask.mount, ask.rows[i]!);
        all.files += files;
        all.unread += unread;
      }
      return all;
    }
  }
}

process.on('disconnect', () => process.exit());
process.on('message', (ask: PowerAsk) => {
  answer(ask).then(
    (value) => process.send!({value}),
    (error: unknown) => {
      const {name, message, stack} = error as Error;
      process.send!({error: name === 'Wrong' ? message : (stack ?? message)});
    },
  );
});
