import {FsError, Lost, Refusal} from '../base/errors.js';
import {SCRUB_STATE} from '../cluster/scrub.js';
import type {Log, LogFields} from '../env/log.js';
import type {ScrubReply, ScrubRequest} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import {asAdmin} from './admin.js';
import type {SimMachine} from './machine.js';
import type {SeededRandom} from './random.js';

const FINDINGS: ReadonlySet<string> = new Set(['scrub.repaired', 'scrub.lost']);
const ASK_MS = 3000;
const GAP_MS = 8000;

/** Orders scrubs as an administrator does, at random moments, and remembers what they find. */
export class Scrubs {
  /** One line for each block that was found to be bad. */
  readonly findings: string[] = [];
  readonly #address: string;
  readonly #machine: () => SimMachine;
  readonly #pause: (ms: number) => Promise<void>;
  #stopped = false;

  /** `machine` is a host for the administrator. */
  constructor(address: string, machine: () => SimMachine, pause: (ms: number) => Promise<void>) {
    this.#address = address;
    this.#machine = machine;
    this.#pause = pause;
  }

  /** A log that tells of what a scrub finds. */
  watch(log: Log): Log {
    const note = (event: string, fields: LogFields = {}): void => {
      if (FINDINGS.has(event)) this.findings.push(`${event} ${JSON.stringify(fields)}`);
    };
    return {
      debug: (...a) => log.debug(...a),
      info: (...a) => log.info(...a),
      warn: (...a) => {
        note(...a);
        log.warn(...a);
      },
      error: (...a) => {
        note(...a);
        log.error(...a);
      },
      with: (fields) => this.watch(log.with(fields)),
    };
  }

  /** Until it is stopped; then nothing is paused. */
  async run(random: SeededRandom): Promise<void> {
    while (!this.#stopped) {
      await this.#pause(random.float() * GAP_MS);
      if (this.#stopped) break;
      const paused = random.pick([0, 0, 0, 1, 2]);
      const settings = {paused, rate: 0, interval: 0};
      await this.ask({start: paused === 0, deep: random.chance(0.5), settings});
    }
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Null: the meta server did not answer. */
  async ask(request: Partial<ScrubRequest>): Promise<ScrubReply | null> {
    try {
      return await asAdmin(this.#machine().boot(), this.#address, async (peer) => {
        const {message} = await peer.call(OPS.scrub, request, {deadlineMs: ASK_MS});
        return message;
      });
    } catch (error) {
      if (error instanceof Lost || error instanceof Refusal || error instanceof FsError)
        return null;
      throw error;
    }
  }

  /** Has every server ended the newest pass that was ordered? */
  async rest(): Promise<boolean> {
    const reply = await this.ask({});
    if (reply === null) return false;
    const {order, servers} = reply;
    return servers.every(
      ({figures}) => figures?.order === order.order && figures.state === SCRUB_STATE.idle,
    );
  }
}
