import type {Ms} from '../base/ids.js';

/** What the owner must do, in this order. */
export type ClusterEffect =
  /** Make the state as it is now durable (`encodeState`), then call `persisted(epoch)`. */
  | {do: 'persist'; epoch: number}
  /** Send the newest map to this server; when it obeys, call `acked`. */
  | {do: 'push'; uuid: string; incarnation: number; epoch: number}
  /** All data servers obey this epoch: clients may have the map. */
  | {do: 'publish'; epoch: number}
  /** Every data server refuses this session from now on. */
  | {do: 'fenced'; session: number}
  /** Close the connection of this incarnation of a server. */
  | {do: 'drop'; uuid: string; incarnation: number; reason: string}
  | {
      do: 'log';
      event: string;
      group: number;
      slot: number;
      epoch: number;
      why: string;
      /** Of a transition: the state before it. */
      from?: string;
    };

export interface ClusterTiming {
  /** A server that is silent for so long is lost. */
  silenceMs: Ms;
  /** A closed connection is lost when no new one has come by then. */
  reconnectMs: Ms;
  /** Time to acknowledge a map. It takes syncs, and a disk that is busy with others may take seconds for one. */
  ackMs: Ms;
  /** A server that clients report for so long is lost, even if it talks to the meta server. */
  columnTimeoutMs: Ms;
  /** A reported server that was silent for so long is lost at once. */
  reportSilenceMs: Ms;
  /** Servers that have not registered since the meta server started are not lost before this. */
  startGraceMs: Ms;
  /** Who has lost what was not synced waits so long for those who may have it. */
  keeperMs: Ms;
  /** A server that is away for so long gives its slot to one that waits for a slot; 0: never. */
  outAfterMs: Ms;
}

export const CLUSTER_TIMING: ClusterTiming = {
  silenceMs: 4_000,
  reconnectMs: 500,
  ackMs: 5_000,
  columnTimeoutMs: 5_000,
  // A heartbeat a second, and half of one for the way.
  reportSilenceMs: 1_500,
  startGraceMs: 5_000,
  // Who lives dials again after a second at most, for 3 s at a time; readers wait for 20 s.
  keeperMs: 5_000,
  outAfterMs: 600_000,
};

export interface Registration {
  uuid: string;
  /** 0: its own, if it has one; else it waits until it is given one. */
  group: number;
  address: string;
  /** What is lost together with it; '': not known. */
  domain: string;
  location: string;
  /** Without a group: it may also found a new one. */
  auto: boolean;
  /** 0: a process that has not registered before; else the incarnation that it was given. */
  incarnation: number;
  /** Another one than before: what it had not synced may be gone. 0: not known. */
  life: number;
  /** When it asked, if an earlier answer was `undecided`; else now. */
  askedAt: Ms;
}

export type RegistrationAnswer =
  | {is: 'accepted'; incarnation: number; effects: ClusterEffect[]}
  /** Ask again soon: whether the slot is free is not known yet. */
  | {is: 'undecided'; why: string}
  | {is: 'refused'; why: string};
