import {messageOf} from '../../core/base/errors.js';
import {CliError, EXIT} from '../cli-error.js';
import {chaos} from '../dev/chaos.js';
import {metaAddresses, needDev} from '../dev/state.js';
import {Workload} from '../dev/workload.js';
import {alive} from '../process.js';
import type {Acts} from './main.js';

/** Keys for a dev cluster, and a workload on its mount that verifies what it reads. */
export function openChaos(state: string): {meta: string; acts: Acts; close(): Promise<void>} {
  const dev = needDev(state);
  const mount = dev.mounts.find(alive);
  if (mount === undefined)
    throw new CliError(
      `the dev cluster in ${state} is not mounted; 'cpfs dev start mount --state ${state}'`,
      EXIT.conflict,
    );
  const workload = new Workload(mount.dir);
  const acts: Acts = {
    act: ({act, address, name}) =>
      chaos(state, act, address).then(
        (done) => `${name}: ${done}`,
        (error: unknown) => `${name}: cannot ${act}: ${messageOf(error)}`,
      ),
    workload: () => workload.text,
  };
  return {meta: metaAddresses(dev), acts, close: () => workload.close()};
}
