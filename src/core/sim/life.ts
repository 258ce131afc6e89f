import type {Client} from '../client/api.js';
import type {Clock} from '../env/clock.js';
import type {SimMachine} from './machine.js';
import type {Recorder} from './recorder.js';

/** One life of a client. */
export interface ClientLife {
  recorder: Recorder;
  client: Client;
  clock: Clock;
  /** Resolves when it is killed. */
  death: Promise<void>;
  /** Files of which it has given up what it had not written. */
  losses: ReadonlySet<number>;
}

/** A client's machine, and who lives on it. */
export interface ClientSeat {
  machine: SimMachine;
  lives: number;
  life: ClientLife | null;
  kill: () => void;
}
