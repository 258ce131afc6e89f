import {FsError} from '../base/errors.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import {Handlers} from '../transport/handlers.js';
import {steer} from '../transport/steer.js';
import {ALONE, type Reign} from './reign.js';

/** For who asks this very server about itself (role `node`); `promote` is there on standbys, and resolves to why not. */
export function nodeHandlers(
  env: Parameters<typeof steer>[0],
  status: () => wire.NodeStatusReply,
  promote?: () => Promise<string>,
): Handlers<null> {
  return new Handlers<null>()
    .on(OPS.nodeStatus, () => ({message: status()}))
    .on(OPS.steer, (request) => ({message: steer(env, request)}))
    .on(OPS.promote, async () => {
      if (promote === undefined) throw new FsError('EINVAL', 'it is active already');
      return {message: {why: await promote()}};
    });
}

export const NODE_STATUS: wire.NodeStatusReply = {
  role: '',
  node: '',
  address: '',
  cluster: '',
  release: '',
  term: 0,
  sequence: 0,
  how: '',
  active: '',
  connected: false,
  heardMs: 0,
  copies: 0,
  why: '',
  standbys: [],
  whole: true,
  inSync: false,
  coordinatorAwayMs: 0,
  servesMs: 0,
  durability: '',
  durabilityNow: '',
};

/** Of the active one, with what is its own. */
export function activeStatus(
  {reign = {...ALONE, term: 0}, how = 'alone'}: {reign?: Reign; how?: string},
  own: Partial<wire.NodeStatusReply>,
): wire.NodeStatusReply {
  const {validMs = 0, awayMs = 0, self} = reign;
  const lease = {coordinatorAwayMs: Math.round(awayMs), servesMs: Math.round(validMs)};
  return {...NODE_STATUS, role: 'active', node: self.node, how, ...lease, ...own};
}
