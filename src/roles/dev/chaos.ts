import {execFile} from 'node:child_process';
import {randomInt} from 'node:crypto';
import {readdirSync, realpathSync, rmSync, statfsSync, statSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {promisify} from 'node:util';
import {MIB} from '../../core/base/units.js';
import {parseName} from '../../core/data/format.js';
import {SeededRandom} from '../../core/sim/random.js';
import {CliError, EXIT} from '../cli-error.js';
import {signal} from '../process.js';
import {columnsOf, flipBits} from './bits.js';
import {canCut, cutSockets} from './cut.js';
import {devKill, devStart} from './main.js';
import {type DevServer, needDev} from './state.js';

/** What can be done to a data server. */
export type Act = 'kill' | 'start' | 'stop' | 'go on' | 'cut' | 'flip bits' | 'fill' | 'free';

const LEFT_BYTES = MIB;
const FILL_MS = 60_000;

/** Does it to the data server of a dev cluster that listens there; resolves with what became of it. CliError: it cannot be done. */
export async function chaos(state: string, act: Act, address: string): Promise<string> {
  const server = needDev(state).data.find((one) => one.address === address);
  if (server === undefined)
    throw new CliError(`${address} is no data server of ${state}`, EXIT.notFound);
  switch (act) {
    case 'kill':
      await devKill(state, 'data', server.index);
      return 'killed';
    case 'start':
      await devStart(state, 'data', server.index);
      return 'started';
    case 'stop':
      return signalled(server, 'SIGSTOP', "stopped; 'go on' lets it go on");
    case 'go on':
      return signalled(server, 'SIGCONT', 'goes on');
    case 'cut':
      if (!(await canCut()))
        throw new CliError("this system does not let 'ss -K' end connections", EXIT.failed);
      return `${await cutSockets({address}, () => true)} connections cut`;
    case 'flip bits':
      return flipped(server);
    case 'fill':
      return filled(state, server);
    case 'free':
      rmSync(ballast(server), {force: true});
      return 'there is room again';
  }
}

function signalled(server: DevServer, name: NodeJS.Signals, text: string): string {
  if (!signal(server, name)) throw new CliError('it does not run', EXIT.conflict);
  return text;
}

/** In one column of any object. */
async function flipped({folder}: DevServer): Promise<string> {
  const random = new SeededRandom(randomInt(2 ** 31));
  const oids = readdirSync(join(folder, 'columns'), {recursive: true, encoding: 'utf8'}).flatMap(
    (path) => {
      const id = parseName(path.slice(path.lastIndexOf('/') + 1));
      return id === null ? [] : [id.oid];
    },
  );
  if (oids.length === 0) throw new CliError('it stores nothing yet', EXIT.notFound);
  const columns = await columnsOf(folder, random.pick(oids));
  if (columns.length === 0) throw new CliError('what it stored has just gone', EXIT.conflict);
  const {offsets, column} = await flipBits(random.pick(columns), random);
  const name = column.path.slice(folder.length + 1);
  return `${offsets.length} blocks of ${name} damaged; a read or 'cpfs scrub start' finds them`;
}

/** Beside its folder, on the disk that it has for itself. */
const ballast = ({folder}: DevServer): string => join(dirname(realpathSync(folder)), 'ballast');

async function filled(state: string, server: DevServer): Promise<string> {
  const folder = realpathSync(server.folder);
  if (statSync(folder).dev === statSync(state).dev)
    throw new CliError(
      `${server.folder} has no disk of its own: all of this machine would be full; mount one there before 'cpfs dev up'`,
      EXIT.refused,
    );
  const {bavail, bsize} = statfsSync(folder);
  const bytes = bavail * bsize - LEFT_BYTES;
  if (bytes < LEFT_BYTES) return 'it is full already';
  await promisify(execFile)('fallocate', ['-l', String(bytes), ballast(server)], {
    timeout: FILL_MS,
  });
  return "filled; 'free' makes room again";
}
