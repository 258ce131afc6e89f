const LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LEVELS)[number];

export const isLogLevel = (text: string): text is LogLevel =>
  (LEVELS as readonly string[]).includes(text);

/** Categories with a level of their own, at most. */
const CATEGORIES_MAX = 100;
const CATEGORY = /^[a-z][a-z0-9-]{0,39}$/;

interface Levels {
  level: LogLevel;
  /** By the first word of an event's name. */
  categories: Map<string, LogLevel>;
}

/** `info`, `info,peer=debug`; null if it is not that. */
function parseLevels(text: string): Levels | null {
  const [level = '', ...rest] = text.split(',');
  if (!isLogLevel(level) || rest.length > CATEGORIES_MAX) return null;
  const categories = new Map<string, LogLevel>();
  for (const part of rest) {
    const [category = '', of = '', more] = part.split('=');
    if (!CATEGORY.test(category) || !isLogLevel(of) || more !== undefined) return null;
    categories.set(category, of);
  }
  return {level, categories};
}

export const isLogLevels = (text: string): boolean => parseLevels(text) !== null;

/** What a process logs; it can change while the process runs. */
export class LogLevels {
  #threshold = 1;
  /** Empty almost always: then the name of an event is not looked at. */
  #categories: ReadonlyMap<string, number> = new Map();
  #text: string;

  /** `text` as isLogLevels has it. */
  constructor(text: string) {
    this.#text = 'info';
    this.set(text);
  }

  /** As set() takes it. */
  get text(): string {
    return this.#text;
  }

  /** False, and nothing changes, if it is not isLogLevels. */
  set(text: string): boolean {
    const parsed = parseLevels(text);
    if (parsed === null) return false;
    this.#text = text;
    this.#threshold = LEVELS.indexOf(parsed.level);
    this.#categories = new Map(
      [...parsed.categories].map(([category, level]) => [category, LEVELS.indexOf(level)]),
    );
    return true;
  }

  has(level: LogLevel, event: string): boolean {
    let threshold = this.#threshold;
    if (this.#categories.size > 0) {
      const dot = event.indexOf('.');
      threshold = this.#categories.get(dot < 0 ? event : event.slice(0, dot)) ?? threshold;
    }
    return LEVELS.indexOf(level) >= threshold;
  }
}
