import {writeSync} from 'node:fs';
import type {Log, LogFields} from '../env/log.js';
import type {LogLevel, LogLevels} from './log-levels.js';

/** Bytes of log that one process writes to its descriptor before it says so and stops: no unbounded log. */
const BYTES_MAX = 64 * 1024 * 1024;

/** JSON lines `{ts, level, event, …}` on a file descriptor (2: stderr). */
export function jsonLog(levels: LogLevels, fields: LogFields, descriptor = 2): Log {
  const state = {written: 0};
  const make = (bound: LogFields): Log => {
    const emit = (at: LogLevel) => (event: string, more?: LogFields) => {
      if (state.written > BYTES_MAX || !levels.has(at, event)) return;
      let line = `${JSON.stringify({ts: new Date().toISOString(), level: at, event, ...bound, ...more})}\n`;
      state.written += line.length;
      if (state.written > BYTES_MAX) {
        line = `${JSON.stringify({ts: new Date().toISOString(), level: 'error', event: 'log.full', ...bound})}\n`;
      }
      try {
        writeSync(descriptor, line);
      } catch {
        // A log that cannot be written must not stop the server.
      }
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
