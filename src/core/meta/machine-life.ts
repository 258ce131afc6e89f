import type {Env} from '../env/env.js';

const PATH = 'machine-life';

/**
 * Has the machine been started anew since the meta server last noted which life of it this is? Then what was answered and not synced is gone:
 * sizes that clients had told, of objects whose columns are longer by now.
 */
export async function startedAnew(env: Pick<Env, 'disk'>): Promise<boolean> {
  const [noted, life] = await Promise.all([env.disk.readFile(PATH), env.disk.machineLife()]);
  return noted === null || Buffer.from(noted).toString('utf8') !== life;
}

/** What others answered since is lost with them: it is as after a power cut, whatever the machine is. */
export async function forgetLife(env: Pick<Env, 'disk'>): Promise<void> {
  await env.disk.writeFile(PATH, new Uint8Array(0));
}

/** What follows from it is durable. */
export async function noteLife(env: Pick<Env, 'disk'>): Promise<void> {
  await env.disk.writeFile(PATH, Buffer.from(await env.disk.machineLife()));
}
