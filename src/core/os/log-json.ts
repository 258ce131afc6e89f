import type {Log, LogFields} from '../env/log.js';
import type {LogLevel, LogLevels} from './log-levels.js';
import {LogOutput} from './log-output.js';

/** Of one kind of event so many lines are written in a window: a broken client must not drive out what else there is to know. */
const LINES_MAX = 1000;
const WINDOW_MS = 10_000;
/** Kinds that are counted; there are fewer in the program. */
const KINDS_MAX = 4096;

interface Window {
  since: number;
  lines: number;
  left: number;
}

/** JSON lines `{ts, level, event, …}`. Debug lines, which somebody has asked for, are not counted. */
export function jsonLog(
  levels: LogLevels,
  fields: LogFields,
  output = new LogOutput({descriptor: 2, path: null}),
  wall: () => number = Date.now,
): Log {
  const windows = new Map<string, Window>();
  const line = (level: LogLevel, event: string, all: LogFields): string =>
    `${JSON.stringify({ts: new Date(wall()).toISOString(), level, event, ...all})}\n`;
  const put = (level: LogLevel, event: string, all: LogFields): void => {
    output.write(line(level, event, all), () => line('error', 'log.full', fields));
  };
  /** False: there were too many of this kind lately. */
  const counted = (event: string): boolean => {
    const now = wall();
    let window = windows.get(event);
    // A clock that went back begins a new one, too.
    if (window === undefined || now - window.since >= WINDOW_MS || now < window.since) {
      if (window !== undefined && window.left > 0)
        put('warn', 'log.suppressed', {...fields, of: event, lines: window.left});
      if (windows.size >= KINDS_MAX) windows.clear();
      window = {since: now, lines: 0, left: 0};
      windows.set(event, window);
    }
    if (window.lines++ < LINES_MAX) return true;
    window.left++;
    return false;
  };
  const make = (bound: LogFields): Log => {
    const emit = (at: LogLevel) => (event: string, more?: LogFields) => {
      if (!levels.has(at, event)) return;
      if (at === 'debug' || counted(event)) put(at, event, {...bound, ...more});
    };
    return {
      debug: emit('debug'),
      info: emit('info'),
      warn: emit('warn'),
      error: emit('error'),
      with: (extra) => make({...bound, ...extra}),
    };
  };
  return make(fields);
}
