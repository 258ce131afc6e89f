import type {Log} from '../core/env/log.js';
import {sendDatagram} from '../core/os/datagram.js';

/** What systemd says to a service of Type=notify: sd_notify(3), sd_watchdog_enabled(3). */
interface Asked {
  socket: string;
  /** It wants a sign of life that often; null: none. */
  everyMs: number | null;
}

const READY = 'READY=1';
const STOPPING = 'STOPPING=1';
const ALIVE = 'WATCHDOG=1';

/** Takes it out of the environment: processes that this one starts are not the service. */
function takeAsked(env: NodeJS.ProcessEnv, pid: number): Asked | null {
  const {NOTIFY_SOCKET: socket, WATCHDOG_USEC: usec, WATCHDOG_PID: whose} = env;
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name];
  if (socket === undefined || !/^[/@]./.test(socket)) return null;
  const mine = whose === undefined || Number(whose) === pid;
  const everyMs = Number(usec) / 1000;
  return {socket, everyMs: mine && everyMs > 0 ? everyMs : null};
}

/**
 * Tells the service manager, if there is one, that a role is usable, that it is alive, and that it stops. Signs of life come from the event loop, so one
 * that hangs is ended and started anew.
 */
export class Supervisor {
  readonly #asked: Asked | null;

  constructor(
    private readonly log: Log,
    env: NodeJS.ProcessEnv = process.env,
    private readonly send: (socket: string, text: string) => number = sendDatagram,
  ) {
    this.#asked = takeAsked(env, process.pid);
  }

  /** The role is usable from now on. */
  ready(): void {
    this.#say(READY);
    const everyMs = this.#asked?.everyMs ?? null;
    // Half of what is asked for, as sd_watchdog_enabled(3) says. It goes on while the role stops.
    if (everyMs !== null) setInterval(() => this.#say(ALIVE), everyMs / 2).unref();
  }

  stopping(): void {
    this.#say(STOPPING);
  }

  #say(text: string): void {
    if (this.#asked === null) return;
    const errno = this.send(this.#asked.socket, text);
    if (errno !== 0) this.log.warn('supervisor.unheard', {text, errno});
  }
}
