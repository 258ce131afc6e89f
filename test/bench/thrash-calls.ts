import {setTimeout as delay} from 'node:timers/promises';

/** The slowest call of a kind. */
export interface Worst {
  count: number;
  ms: number;
  what: string;
  /** When it began, as in logs. */
  at: string;
}

/** Longer than disks may be called full after they were: servers measure every 2 s, and clients try again until then. */
const FULL_GRACE_MS = 5_000;

/** When disks were full: then, and only then, a program may be told so. */
export class Fullness {
  #last = {from: Number.POSITIVE_INFINITY, until: Number.NEGATIVE_INFINITY};

  begin(): void {
    this.#last = {from: performance.now(), until: Number.POSITIVE_INFINITY};
  }

  end(): void {
    this.#last.until = performance.now() + FULL_GRACE_MS;
  }

  /** Was any of it since then? */
  since(then: number): boolean {
    return this.#last.until >= then && this.#last.from <= performance.now();
  }
}

interface Call {
  kind: string;
  what: string;
  began: number;
  at: string;
  told: boolean;
}

/** Knows how long each call of a program took, and which have not come back. */
export class Calls {
  readonly #boundMs: number;
  readonly #late: (what: string) => void;
  readonly #underWay = new Set<Call>();
  readonly #worst = new Map<string, Worst>();

  constructor(boundMs: number, late: (what: string) => void) {
    this.#boundMs = boundMs;
    this.#late = late;
  }

  async run<T>(kind: string, what: string, call: () => Promise<T>): Promise<T> {
    const one = {
      kind,
      what,
      began: performance.now(),
      at: new Date().toISOString(),
      told: false,
    };
    this.#underWay.add(one);
    try {
      return await call();
    } finally {
      this.#underWay.delete(one);
      this.#ended(one);
    }
  }

  /** For ever; says so when a call takes too long, while it does. */
  async watch(): Promise<void> {
    for (;;) {
      await delay(500);
      for (const one of this.#underWay) this.#judge(one);
    }
  }

  get worst(): Record<string, Worst> {
    return Object.fromEntries(this.#worst);
  }

  #ended(one: Call): void {
    const ms = Math.round(performance.now() - one.began);
    this.#judge(one);
    const before = this.#worst.get(one.kind);
    const count = (before?.count ?? 0) + 1;
    if (before !== undefined && before.ms >= ms) before.count = count;
    else this.#worst.set(one.kind, {count, ms, what: one.what, at: one.at});
  }

  #judge(one: Call): void {
    if (one.told || performance.now() - one.began < this.#boundMs) return;
    one.told = true;
    this.#late(`${one.kind} ${one.what}, begun ${one.at}, took more than ${this.#boundMs} ms`);
  }
}
