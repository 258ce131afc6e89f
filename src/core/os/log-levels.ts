const LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LEVELS)[number];

export const isLogLevel = (text: string): text is LogLevel =>
  (LEVELS as readonly string[]).includes(text);

/** What is longer is configured. */
const FOR_MS_MAX = 7 * 86_400_000;
/** Categories with a level of their own, at most. */
const CATEGORIES_MAX = 100;
const CATEGORY = /^[a-z][a-z0-9-]{0,39}$/;

interface Levels {
  level: LogLevel;
  /** By the first word of an event's name. */
  categories: Map<string, LogLevel>;
}

/** `info`, `info,peer=debug`, `peer=debug` (then the level is `base`); null if it is not that. */
function parseLevels(text: string, base: LogLevel): Levels | null {
  const parts = text.split(',');
  const [level, ...rest] = parts[0]!.includes('=') ? [base, ...parts] : parts;
  if (level === undefined) return null;
  if (!isLogLevel(level) || rest.length > CATEGORIES_MAX) return null;
  const categories = new Map<string, LogLevel>();
  for (const part of rest) {
    const [category = '', of = '', more] = part.split('=');
    if (!CATEGORY.test(category) || !isLogLevel(of) || more !== undefined) return null;
    categories.set(category, of);
  }
  return {level, categories};
}

export const isLogLevels = (text: string): boolean => parseLevels(text, 'info') !== null;

/** What a process logs; it can change while the process runs. */
export class LogLevels {
  #level: LogLevel = 'info';
  /** Empty almost always: then the name of an event is not looked at. */
  #categories: ReadonlyMap<string, LogLevel> = new Map();
  /** As it is configured. */
  #configured: string;
  #timer: NodeJS.Timeout | null = null;
  #revertsAt = 0;

  /** `text` as isLogLevels has it. */
  constructor(text: string) {
    this.#configured = text;
    this.#take(text);
  }

  get levels(): string {
    const own = [...this.#categories].map(([category, level]) => `${category}=${level}`);
    return [this.#level, ...own].join(',');
  }

  get revertsMs(): number {
    return this.#timer === null ? 0 : Math.max(1, Math.round(this.#revertsAt - performance.now()));
  }

  /** What the configuration says now; what was set beside it is over. */
  configure(text: string): void {
    this.#configured = text;
    this.#again();
  }

  setLevels(levels: string, forMs: number): boolean {
    if (forMs > FOR_MS_MAX || !this.#take(levels)) return false;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = forMs === 0 ? null : setTimeout(() => this.#again(), forMs);
    this.#timer?.unref();
    this.#revertsAt = performance.now() + forMs;
    return true;
  }

  has(level: LogLevel, event: string): boolean {
    let threshold = this.#level;
    if (this.#categories.size > 0) {
      const dot = event.indexOf('.');
      threshold = this.#categories.get(dot < 0 ? event : event.slice(0, dot)) ?? threshold;
    }
    return LEVELS.indexOf(level) >= LEVELS.indexOf(threshold);
  }

  #again(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    // Categories alone are beside the level of the default, not of what was set for a while.
    this.#level = 'info';
    this.#take(this.#configured);
  }

  #take(text: string): boolean {
    const parsed = parseLevels(text, this.#level);
    if (parsed === null) return false;
    this.#level = parsed.level;
    this.#categories = parsed.categories;
    return true;
  }
}
