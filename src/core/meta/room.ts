import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {MIB} from '../base/units.js';
import type {Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';
import type {FlushRequest} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';

/** Left alone by what makes or adds something: the log and checkpoints of all else go on in it. */
const RESERVE_BYTES_MAX = 64 * MIB;
const RESERVE_SHARE = 0.01;
const MEASURE_MS: Ms = 1000;

/** Nothing is added by these, or little for each thing that is there: they need not wait for space. */
const ADDING: ReadonlySet<number> = new Set(
  [OPS.create, OPS.mkdir, OPS.symlink, OPS.mknod, OPS.link, OPS.setxattr, OPS.layoutSet].map(
    ({code}) => code,
  ),
);

/** Is there space for what a request adds? A full disk is ENOSPC before the log cannot be written any more, for then nothing goes on. */
export class MetaRoom {
  readonly #env: Pick<Env, 'clock' | 'disk' | 'log'>;
  #short = false;
  #timer: Timer | null = null;
  #closed = false;

  constructor(env: Pick<Env, 'clock' | 'disk' | 'log'>) {
    this.#env = env;
  }

  async start(): Promise<void> {
    await this.#measure();
    this.#plan();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  /** Only the reserve is left. */
  get short(): boolean {
    return this.#short;
  }

  /**
   * What the request is refused with; null: it is not. Changes that a client has carried out already (flush with `changes`) are not refused, since
   * nobody would be told.
   */
  refusal(code: number, request: unknown, payload: Uint8Array | undefined): FsError | null {
    if (!this.#short) return null;
    const inline = code === OPS.flush.code && (payload?.length ?? 0) > 0;
    const bytes = inline && (request as FlushRequest).changes.length === 0;
    if (!ADDING.has(code) && !bytes) return null;
    return new FsError('ENOSPC', 'the meta server has only its reserve left');
  }

  async #measure(): Promise<void> {
    const {totalBytes, freeBytes} = await this.#env.disk.space();
    const short = freeBytes < Math.min(RESERVE_BYTES_MAX, totalBytes * RESERVE_SHARE);
    if (short !== this.#short)
      this.#env.log.warn(short ? 'meta.space-short' : 'meta.space-again', {freeBytes});
    this.#short = short;
  }

  #plan(): void {
    if (this.#closed) return;
    this.#timer = this.#env.clock.timer(MEASURE_MS, () => {
      this.#measure()
        .catch((error: unknown) => this.#env.log.warn('space.unknown', {error: messageOf(error)}))
        .finally(() => this.#plan());
    });
  }
}
