import type {Ms} from './ids.js';

/** Ends of the classes of a histogram; what took longer is in the last one. */
export const LATENCY_BOUNDS_MS: readonly Ms[] = [
  0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000,
];

/** How long one kind of operation took, and how often it failed. */
export interface Latency {
  /** By class of LATENCY_BOUNDS_MS, and one for what took longer. */
  readonly classes: number[];
  sumMs: Ms;
  failed: number;
}

/** Operations by kind. */
export class Meter {
  /** By the number of the kind. */
  readonly #kinds = new Map<number, Latency>();

  get kinds(): ReadonlyMap<number, Latency> {
    return this.#kinds;
  }

  record(kind: number, ms: Ms, failed: boolean): void {
    let latency = this.#kinds.get(kind);
    if (latency === undefined) {
      const classes = new Array<number>(LATENCY_BOUNDS_MS.length + 1).fill(0);
      latency = {classes, sumMs: 0, failed: 0};
      this.#kinds.set(kind, latency);
    }
    let at = 0;
    while (at < LATENCY_BOUNDS_MS.length && ms > LATENCY_BOUNDS_MS[at]!) at++;
    latency.classes[at]!++;
    latency.sumMs += ms;
    if (failed) latency.failed++;
  }
}

/** A request that has no answer yet. */
export interface WaitingRequest {
  /** Number of its kind. */
  kind: number;
  peer: string;
  since: Ms;
}

/** Requests of one sort in a process, of all its connections: what they took, and which ones wait. */
export class Requests {
  readonly meter = new Meter();
  readonly #sources = new Set<() => Iterable<WaitingRequest>>();

  /** `waiting` says which ones wait now, when somebody asks. The result takes it away. */
  watch(waiting: () => Iterable<WaitingRequest>): () => void {
    this.#sources.add(waiting);
    return () => this.#sources.delete(waiting);
  }

  *waiting(): Iterable<WaitingRequest> {
    for (const source of this.#sources) yield* source();
  }
}

/** What passes through a process. */
export class Traffic {
  /** Requests of others that are carried out here. */
  readonly served = new Requests();
  /** Own requests to others. */
  readonly called = new Requests();
  /** Requests of the kernel to a mount. */
  readonly kernel = new Requests();
}
