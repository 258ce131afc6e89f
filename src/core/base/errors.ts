import {ERRNO, type Errno, errnoName} from './errno.js';

/** An expected answer of the file system. Crosses the wire as (number, detail); the caller sees the same errno. */
export class FsError extends Error {
  override readonly name = 'FsError';
  constructor(
    readonly errno: Errno,
    readonly detail = '',
    options?: ErrorOptions,
  ) {
    // Most are ordinary answers, like ENOENT to a lookup: where they were made interests nobody, and costs more than the rest.
    const limit = Error.stackTraceLimit;
    if (errno !== 'EIO') Error.stackTraceLimit = 0;
    super(detail === '' ? errno : `${errno}: ${detail}`, options);
    Error.stackTraceLimit = limit;
  }

  get number(): number {
    return ERRNO[this.errno];
  }
}

/**
 * Why a server would not even try. Numbers start at 1000 and never reach an application: the RPC layer or the
 * client resolves them (core/transport), or turns them into an errno when it gives up.
 */
export const REFUSAL = {
  /** The request's map epoch is older than the server's: fetch the map, plan again. */
  StaleEpoch: 1000,
  /** The server's map epoch is older than the request's: wait a moment, send again. */
  BehindEpoch: 1001,
  /** The session was fenced: everything it held is void. */
  Fenced: 1002,
  /** The server is starting, stopping or in its grace period: send again later. */
  Busy: 1003,
  /** No such session: register again. */
  NoSession: 1004,
  /** The server is not the one that was asked for (another cluster, group, slot or server id). */
  WrongServer: 1005,
  /** The two ends have no protocol version in common. */
  WrongVersion: 1006,
  /** A request of a kind that this connection may not send, or not in this state. */
  OutOfState: 1007,
  /** A standby of the meta server: another one is active, at the address that the detail gives (empty: it does not know of one). */
  NotActive: 1008,
} as const;

export type RefusalKind = keyof typeof REFUSAL;

const refusalByNumber = new Map<number, RefusalKind>(
  Object.entries(REFUSAL).map(([name, number]) => [number, name as RefusalKind]),
);

/** A server's refusal; `detail` names what was seen, for the log. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  constructor(
    readonly kind: RefusalKind,
    readonly detail = '',
  ) {
    super(detail === '' ? kind : `${kind}: ${detail}`);
  }

  get number(): number {
    return REFUSAL[this.kind];
  }
}

/**
 * The connection went or the deadline passed: whether the request was carried out is unknown, and it may still be; unless
 * `unsent`: it never left.
 */
export class Lost extends Error {
  override readonly name: string = 'Lost';
  constructor(
    readonly detail: string,
    readonly unsent = false,
  ) {
    super(detail);
  }
}

/** There is somebody, but the two did not prove to each other who they are. */
export class Unproved extends Lost {}

/** What a reply's status number means; 0 is no error and not for this function. */
export function errorFromStatus(status: number, detail: string): FsError | Refusal {
  const kind = refusalByNumber.get(status);
  return kind !== undefined ? new Refusal(kind, detail) : new FsError(errnoName(status), detail);
}

/** The errno to answer a program with, whatever was thrown. */
export function errnoOf(error: unknown): number {
  if (error instanceof FsError) return error.number;
  return ERRNO.EIO;
}

/** One clear sentence of whatever was thrown, for a person or a log. */
export function messageOf(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'message' in error)
    return String(error.message);
  return String(error);
}
