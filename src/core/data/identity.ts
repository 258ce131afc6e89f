import {FsError} from '../base/errors.js';
import type {Env} from '../env/env.js';

/** What a server keeps of itself: `server.json`. */
export interface Identity {
  version: 1;
  uuid: string;
  /** 0: none yet. */
  group: number;
  /** '' until it has joined one. */
  cluster: string;
  /** The newest map epoch that it obeys, and the sessions it refuses: they hold from the first moment after a restart. */
  epoch: number;
  fenced: number[];
  /** False from the first start until its slot has been ready once: a server that fills a used slot lacks everything. */
  whole: boolean;
}

const PATH = 'server.json';
const UUID_BYTES = 16;

/** Where a server comes from. */
export type Origin = 'new' | 'waiting' | 'placed';

/** `group` 0: any. Gives besides whether it is new, has waited for a slot until now, or has one. EINVAL: the folder belongs to another group. */
export async function readIdentity(
  env: Pick<Env, 'disk' | 'random'>,
  group: number,
): Promise<{identity: Identity; origin: Origin}> {
  const bytes = await env.disk.readFile(PATH);
  if (bytes === null) {
    const fresh: Identity = {
      version: 1,
      uuid: env.random.hex(UUID_BYTES),
      group,
      cluster: '',
      epoch: 0,
      fenced: [],
      whole: false,
    };
    await writeIdentity(env, fresh);
    return {identity: fresh, origin: 'new'};
  }
  let identity: Identity;
  try {
    identity = JSON.parse(Buffer.from(bytes).toString('utf8')) as Identity;
  } catch (error) {
    throw new FsError('EIO', `${PATH} cannot be read`, {cause: error});
  }
  if (identity.version !== 1)
    throw new FsError(
      'EIO',
      `${PATH} is of version ${identity.version}, written by a newer release`,
    );
  if (group !== 0 && identity.group !== 0 && identity.group !== group)
    throw new FsError('EINVAL', `this folder belongs to group ${identity.group}, not ${group}`);
  const origin = identity.group === 0 ? 'waiting' : 'placed';
  if (identity.group === 0) identity.group = group;
  return {identity, origin};
}

export function writeIdentity(env: Pick<Env, 'disk'>, identity: Identity): Promise<void> {
  return env.disk.writeFile(PATH, Buffer.from(JSON.stringify(identity)));
}
