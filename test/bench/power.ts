// Power cuts of real servers: `npm run power -- --cuts N --seed S [--only KIND,…] [--keep]`. Their disks lose what was not flushed, in whole or in
// part, or torn; what was fsynced must be there, what was not is old, new or EIO, and nobody types anything. Needs root and loop devices.
import {parseArgs} from 'node:util';
import {SeededRandom} from '../../src/core/sim/random.js';
import {CUTS, type CutKind, PowerStory} from '../support/power-story.js';

const {values} = parseArgs({
  options: {
    cuts: {type: 'string', default: '10'},
    seed: {type: 'string', default: '1'},
    only: {type: 'string'},
    keep: {type: 'boolean', default: false},
  },
});
const seed = Number(values.seed);
const kinds = CUTS.filter((kind) => values.only?.split(',').includes(kind) ?? true);
if (kinds.length === 0 || !(Number(values.cuts) > 0) || !Number.isSafeInteger(seed)) {
  process.stderr.write(`usage: power --cuts N --seed S [--only ${CUTS.join(',')}] [--keep]\n`);
  process.exit(2);
}

const tell = (line: string): boolean =>
  process.stdout.write(`${new Date().toISOString()} ${line}\n`);
const random = new SeededRandom(seed).split('kinds');
const story = await PowerStory.begin(seed, tell);
let failed = false;
try {
  for (let left = Number(values.cuts); left > 0; left--)
    await story.round(random.pick(kinds as CutKind[]));
} catch (error) {
  failed = true;
  tell(`seed ${seed}: ${(error as Error).stack}`);
}
if (failed && values.keep) tell(`logs are in ${story.cluster.folder}`);
await story.end(failed && values.keep);
process.exit(failed ? 1 : 0);
