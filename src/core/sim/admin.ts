import {Peer} from '../transport/peer.js';
import type {SimEnv} from './machine.js';

const CONNECT_MS = 3000;

/** Connects to the active one of some meta servers (host:port, with commas between) as an administrator, calls `use`, closes. */
export async function asAdmin<T>(
  env: SimEnv,
  addresses: string,
  use: (peer: Peer) => Promise<T>,
): Promise<T> {
  const all = addresses.split(',');
  for (const address of all.slice(0, -1)) {
    let used = false;
    try {
      return await once(env, address, (peer) => {
        used = true;
        return use(peer);
      });
    } catch (error) {
      if (used) throw error;
    }
  }
  return once(env, all.at(-1)!, use);
}

async function once<T>(env: SimEnv, address: string, use: (peer: Peer) => Promise<T>): Promise<T> {
  const peer = new Peer(env, await env.net.connect(address, CONNECT_MS));
  try {
    await peer.hello({role: 'admin'}, {deadlineMs: CONNECT_MS});
    return await use(peer);
  } finally {
    peer.close('done');
  }
}
