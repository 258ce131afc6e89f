import {CliError, EXIT} from '../cli-error.js';
import {frameOf, LEAST, type Link} from './frame.js';
import {type Look, Model, type View} from './model.js';
import {ASCII, type Glyphs, type Line, plain, span, UNICODE} from './text.js';
import {type Effect, pressed, START, type Ui} from './ui.js';
import {Watcher} from './watch.js';

export interface TopOptions {
  /** As --meta names them. */
  meta: string;
  timeoutMs: number;
}

const EVERY_MS = 1_000;
/** Two looks so far apart say what goes on in a second: each node tells its counters in between. */
const APART_MS = 2_500;
const NOBODY = {session: 0, inode: 0};

/** ASCII where the locale does not say that the terminal takes more. */
export function glyphsFor(env: Readonly<Record<string, string | undefined>>): Glyphs {
  const locale = env.LC_ALL || env.LC_CTYPE || env.LANG || '';
  return /utf-?8/i.test(locale) && env.TERM !== 'linux' ? UNICODE : ASCII;
}

/** As no-color.org has it. */
export const colourFor = (env: Readonly<Record<string, string | undefined>>): boolean =>
  !env.NO_COLOR && env.TERM !== 'dumb';

/** What there is to see, after two looks. */
export async function viewOnce({meta, timeoutMs}: TopOptions): Promise<View> {
  const watcher = new Watcher({meta, timeoutMs, everyMs: EVERY_MS, chosen: () => NOBODY});
  const model = new Model(APART_MS);
  model.take(await watcher.once(), performance.now());
  await new Promise((resolve) => setTimeout(resolve, APART_MS));
  return model.take(await watcher.once(), performance.now());
}

/** One frame as text. */
export function textOf(view: View, width: number, glyphs: Glyphs, meta: string): string {
  const link = {meta, ageMs: 0, why: ''};
  const scene = {view, link, ui: START, width, height: null, glyphs, workload: ''};
  return frameOf(scene).map(plain).join('\n');
}

/** What keys do besides changing the screen. */
export interface Acts {
  /** Says what became of it. */
  act(effect: Extract<Effect, {do: 'act'}>): Promise<string>;
  /** What a workload says of itself. */
  workload(): string;
}

/** Shows the cluster on the terminal until somebody has seen enough. */
export async function top(options: TopOptions, acts: Acts | null): Promise<void> {
  if (!process.stdout.isTTY || !process.stdin.isTTY)
    throw new CliError('this is no terminal; use --once or --json', EXIT.usage);
  // Before it is loaded: React's other build looks at everything twice.
  const {env} = process;
  env.NODE_ENV ??= 'production';
  const {openTerminal} = await import('./terminal.js');
  const glyphs = glyphsFor(env);
  const state = new TopState(options, acts);
  const stop = new AbortController();
  const terminal = await openTerminal({
    colour: colourFor(env),
    lines: (width, height) => state.lines(width, height, glyphs),
    pressed: (key) => {
      if (state.press(key, () => terminal.draw())) terminal.close();
      else terminal.draw();
    },
  });
  // Also without an answer: what is shown gets older.
  const timer = setInterval(() => terminal.draw(), EVERY_MS);
  const watching = state.watch(() => terminal.draw(), stop.signal);
  try {
    await Promise.race([terminal.closed, watching]);
  } finally {
    clearInterval(timer);
    stop.abort();
    // The terminal is as it was, so what went wrong can be said.
    terminal.close();
  }
}

/** What is shown, and what it is made of. */
class TopState {
  readonly #options: TopOptions;
  readonly #acts: Acts | null;
  readonly #model = new Model(EVERY_MS);
  #ui: Ui;
  #view: View | null = null;
  #lookedAt: number | null = null;
  #why = '';

  constructor(options: TopOptions, acts: Acts | null) {
    this.#options = options;
    this.#acts = acts;
    this.#ui = {...START, chaos: acts !== null};
  }

  async watch(draw: () => void, signal: AbortSignal): Promise<void> {
    const {meta, timeoutMs} = this.#options;
    const watcher = new Watcher({meta, timeoutMs, everyMs: EVERY_MS, chosen: () => this.#chosen()});
    const look = (one: Look) => {
      this.#why = '';
      this.#lookedAt = performance.now();
      this.#view = this.#model.take(one, this.#lookedAt);
    };
    // What is shown changes with the timer: once a second whatever comes.
    const lost = (why: string) => {
      const first = this.#why === '';
      this.#why = why;
      if (first) draw();
    };
    await watcher.watch({look, lost}, signal);
  }

  /** Whose leases and locks are wanted. */
  #chosen(): {session: number; inode: number} {
    const {detail} = this.#ui;
    if (detail?.what === 'client') return {session: detail.id, inode: 0};
    return detail?.what === 'file' ? {session: 0, inode: detail.inode} : NOBODY;
  }

  /** True: it is over. */
  press(key: string, draw: () => void): boolean {
    const [ui, effect] = pressed(this.#ui, key, this.#view);
    this.#ui = ui;
    if (effect?.do === 'act')
      void this.#acts?.act(effect).then((note) => {
        this.#ui = {...this.#ui, note};
        draw();
      });
    return effect?.do === 'quit';
  }

  lines(width: number, height: number, glyphs: Glyphs): Line[] {
    if (width < LEAST.width || height < LEAST.height)
      return [[span(`${LEAST.width}x${LEAST.height} at least`.slice(0, Math.max(0, width)))]];
    const ageMs = this.#lookedAt === null ? null : performance.now() - this.#lookedAt;
    const link: Link = {meta: this.#options.meta, ageMs, why: this.#why};
    const workload = this.#acts?.workload() ?? '';
    return frameOf({view: this.#view, link, ui: this.#ui, width, height, glyphs, workload});
  }
}
