import {messageOf} from '../base/errors.js';
import {OPS} from '../protocol/ops.js';
import type {Peer} from '../transport/peer.js';
import {asAdmin} from './admin.js';
import type {SimMachine} from './machine.js';

const ADMIN_MS = 5000;

/** Somebody who orders things of the meta server at `address`, one at a time, on a host of their own. */
export class Operator {
  readonly #machine: SimMachine;
  readonly #address: string;
  readonly #note: (line: string) => void;
  #turn: Promise<void> = Promise.resolve();

  constructor(machine: SimMachine, address: string, note: (line: string) => void) {
    this.#machine = machine;
    this.#address = address;
    this.#note = note;
  }

  drain(group: number, slot: number): Promise<boolean> {
    return this.#order('drained', (peer) =>
      peer.call(OPS.drain, {group, slot}, {deadlineMs: ADMIN_MS}),
    );
  }

  pauseRecovery(paused: boolean): Promise<boolean> {
    return this.#order(paused ? 'paused' : 'resumed', (peer) =>
      peer.call(OPS.recovery, {paused: paused ? 2 : 1, rate: 0}, {deadlineMs: ADMIN_MS}),
    );
  }

  /** True if it was done. Refused, or no meta server: another time, with a note of why. */
  async #order(what: string, ask: (peer: Peer) => Promise<unknown>): Promise<boolean> {
    const before = this.#turn;
    let over = (): void => {};
    this.#turn = new Promise((resolve) => {
      over = resolve;
    });
    await before;
    try {
      await asAdmin(this.#machine.boot(), this.#address, ask);
      return true;
    } catch (error) {
      this.#note(`not ${what}: ${messageOf(error)}`);
      return false;
    } finally {
      this.#machine.kill(false);
      over();
    }
  }
}
