import {parseArgs} from 'node:util';
import {DURABILITIES, type Durability} from '../core/base/durability.js';
import type {Defer} from '../core/sim/scheduler.js';
import {
  FAULTS,
  type FaultKind,
  META_FAULTS,
  secondFailures,
  severalMetas,
  showShape,
  swarm,
  type WorldShape,
} from '../core/sim/swarm.js';
import {allTransitions} from '../core/sim/transitions.js';
import {explain, World, type WorldResult} from '../core/sim/world.js';

const USAGE = `usage: npm run sim -- [--seed N] [--count K] [--faults KIND,...] [--fulls] [--copies] [--seconds] [--metas [--durability disk|memory|both]] [--verbose] [--keep-going] [--twice] [--transitions]
Runs simulated worlds with seeds N, N+1, ... A failure prints one line that reproduces it.
--faults leaves out all others; 'none' leaves out all. --fulls fills disks in all worlds. --copies makes read copies in all. --seconds makes worlds of second failures, --metas of several meta servers. --transitions says how often each
transition of slots and groups was taken. Kinds: ${[...FAULTS, ...META_FAULTS].join(' ')}
`;

/** The microtask runs after all others that are queued; the tick comes when none is left. */
const defer: Defer = (run) => {
  queueMicrotask(() => process.nextTick(run));
};

interface Options {
  verbose: boolean;
  twice: boolean;
  faults?: string | undefined;
  fulls: boolean;
  copies: boolean;
  seconds: boolean;
  metas: boolean;
  durability?: Durability | undefined;
}

/** The world of a seed, or less of it. */
function shapeOf(seed: number, options: Options): WorldShape {
  const {faults, fulls, copies, seconds, metas, durability} = options;
  const draw = metas ? severalMetas : seconds ? secondFailures : swarm;
  const drawn = draw(seed);
  const readCopies = copies || drawn.readCopies;
  const kept = durability === undefined ? {} : {durability};
  const shape = {...drawn, ...kept, fulls: fulls || drawn.fulls, readCopies};
  if (faults === undefined) return shape;
  const allowed = faults.split(',');
  const left: FaultKind[] = shape.faults.filter((kind) => allowed.includes(kind));
  const network = left.includes('reset') ? shape.network : {...shape.network, resetChance: 0};
  return {...shape, network, faults: left};
}

async function one(seed: number, options: Options): Promise<WorldResult> {
  const trace = options.verbose ? (line: string) => void process.stdout.write(`${line}\n`) : null;
  const world = new World(shapeOf(seed, options), defer, trace);
  const rejected = (error: unknown): void => world.fail(error);
  process.on('unhandledRejection', rejected);
  try {
    return await world.run();
  } finally {
    process.off('unhandledRejection', rejected);
    if (options.verbose) process.stdout.write(`${world.history.show().join('\n')}\n`);
  }
}

/** What happened in all worlds so far. */
interface Seen {
  transitions: Map<string, number>;
  moved: number;
  inRounds: number;
}

/** True if it went well. */
async function judge(seed: number, options: Options, seen: Seen): Promise<boolean> {
  try {
    const result = await one(seed, options);
    for (const [key, count] of Object.entries(result.transitions))
      seen.transitions.set(key, (seen.transitions.get(key) ?? 0) + count);
    seen.moved += result.moves.moved;
    seen.inRounds += result.moves.inRounds;
    if (options.twice && (await one(seed, options)).digest !== result.digest) {
      throw new Error('two runs took different paths: something is not under the seed');
    }
    if (options.verbose) process.stdout.write(`${JSON.stringify(result)}\n`);
    return true;
  } catch (error) {
    const less = options.faults === undefined ? '' : ` --faults ${options.faults}`;
    const kinds = ['fulls', 'copies', 'seconds', 'metas'] as const;
    const kept = options.durability === undefined ? '' : ` --durability ${options.durability}`;
    const more = kinds.map((kind) => (options[kind] ? ` --${kind}` : '')).join('') + kept;
    process.stdout.write(
      `seed ${seed}: ${explain(error)} | ${showShape(shapeOf(seed, options))} | npm run sim -- --seed ${seed}${less}${more} --verbose\n`,
    );
    return false;
  }
}

async function main(): Promise<number> {
  const {values} = parseArgs({
    options: {
      seed: {type: 'string', default: '1'},
      count: {type: 'string', default: '1'},
      verbose: {type: 'boolean', default: false},
      'keep-going': {type: 'boolean', default: false},
      twice: {type: 'boolean', default: false},
      faults: {type: 'string'},
      fulls: {type: 'boolean', default: false},
      copies: {type: 'boolean', default: false},
      seconds: {type: 'boolean', default: false},
      metas: {type: 'boolean', default: false},
      durability: {type: 'string'},
      transitions: {type: 'boolean', default: false},
      help: {type: 'boolean', default: false},
    },
  });
  const first = Number(values.seed);
  const count = Number(values.count);
  const durability = DURABILITIES.find((one) => one === values.durability);
  const unknown = values.durability !== undefined && (durability === undefined || !values.metas);
  if (values.help || unknown || !Number.isSafeInteger(first) || !Number.isSafeInteger(count)) {
    process.stderr.write(USAGE);
    return values.help ? 0 : 2;
  }
  const started = performance.now();
  let failed = 0;
  let ran = 0;
  const seen: Seen = {transitions: new Map(), moved: 0, inRounds: 0};
  for (let seed = first; seed < first + count; seed++) {
    ran++;
    if (await judge(seed, {...values, durability}, seen)) continue;
    failed++;
    if (!values['keep-going']) break;
  }
  const seconds = (performance.now() - started) / 1000;
  process.stdout.write(
    `${ran} worlds, ${failed} failed, ${seconds.toFixed(1)} s, ${(ran / seconds).toFixed(1)} worlds/s, ${seen.moved} objects moved, ${seen.inRounds} of them in rounds\n`,
  );
  if (values.transitions)
    for (const key of allTransitions())
      process.stdout.write(`${key}: ${seen.transitions.get(key) ?? 0}\n`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main();
