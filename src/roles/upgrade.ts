import {FsError} from '../core/base/errors.js';
import type {UpgradeReply} from '../core/protocol/gen/wire.js';
import {OPS} from '../core/protocol/ops.js';
import {withMeta} from './admin.js';
import {CliError, EXIT} from './cli-error.js';

/** What `cpfs upgrade status -o json` prints. Stable: fields are added, never changed; `version` counts breaks. */
export interface UpgradeStatus {
  version: 1;
  /** `done`: all are of one release, and what it has is switched on; `ready`: it can be; `under way`: nodes are older, or away. */
  state: 'done' | 'ready' | 'under way';
  /** What is to be done now; empty: nothing. */
  next: string;
  nodes: {
    role: string;
    /** active, standby, GROUP.SLOT, or empty. */
    place: string;
    /** host:port; of a client, who it is. */
    name: string;
    /** Empty: not known, or older than releases that say it. */
    release: string;
    connected: boolean;
  }[];
  features: {name: string; what: string; on: boolean; lacking: string[]}[];
}

function toStatus({features, nodes, next, ready}: UpgradeReply): UpgradeStatus {
  return {
    version: 1,
    state: next === '' ? 'done' : ready ? 'ready' : 'under way',
    next,
    nodes: nodes.map(({role, place, name, release, connected}) => ({
      ...{role, place, name, release, connected},
    })),
    features,
  };
}

/** Which releases take part, and what is switched on. */
export function upgradeStatus(meta: string, timeoutMs: number): Promise<UpgradeStatus> {
  return withMeta(meta, timeoutMs, async (peer) =>
    toStatus((await peer.call(OPS.upgrade, {}, {deadlineMs: timeoutMs})).message),
  );
}

/** Switches on what is new. CliError: not all have it. */
export function finalizeUpgrade(meta: string, timeoutMs: number): Promise<UpgradeStatus> {
  return withMeta(meta, timeoutMs, async (peer) => {
    try {
      const {message} = await peer.call(OPS.upgrade, {finalize: true}, {deadlineMs: timeoutMs});
      return toStatus(message);
    } catch (error) {
      if (!(error instanceof FsError) || error.errno !== 'EBUSY') throw error;
      throw new CliError(
        `not all nodes have the newer release (${error.detail}); 'cpfs upgrade status' says what is to be done`,
        EXIT.refused,
      );
    }
  });
}
