import {OPS, PROTOCOL_VERSION} from '../protocol/ops.js';
import {Peer} from '../transport/peer.js';
import type {SimEnv} from './machine.js';

const CONNECT_MS = 3000;

/** Connects to a meta server as an administrator, calls `use`, closes. */
export async function asAdmin<T>(
  env: SimEnv,
  address: string,
  use: (peer: Peer) => Promise<T>,
): Promise<T> {
  const peer = new Peer(env, await env.net.connect(address, CONNECT_MS));
  try {
    const hello = {versionMin: PROTOCOL_VERSION, versionMax: PROTOCOL_VERSION, role: 'admin'};
    await peer.call(OPS.hello, hello, {deadlineMs: CONNECT_MS});
    return await use(peer);
  } finally {
    peer.close('done');
  }
}
