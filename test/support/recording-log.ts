import type {Log, LogFields} from '../../src/core/env/log.js';

export interface LogLine {
  level: 'debug' | 'info' | 'warn' | 'error';
  event: string;
  fields: LogFields;
}

/** Keeps every line, so that a test can ask for them. */
export class RecordingLog implements Log {
  readonly lines: LogLine[];
  readonly #fields: LogFields;

  constructor(lines: LogLine[] = [], fields: LogFields = {}) {
    this.lines = lines;
    this.#fields = fields;
  }

  debug(event: string, fields: LogFields = {}): void {
    this.#add('debug', event, fields);
  }

  info(event: string, fields: LogFields = {}): void {
    this.#add('info', event, fields);
  }

  warn(event: string, fields: LogFields = {}): void {
    this.#add('warn', event, fields);
  }

  error(event: string, fields: LogFields = {}): void {
    this.#add('error', event, fields);
  }

  with(fields: LogFields): Log {
    return new RecordingLog(this.lines, {...this.#fields, ...fields});
  }

  /** The fields of all lines with this event. */
  of(event: string): LogFields[] {
    return this.lines.filter((line) => line.event === event).map((line) => line.fields);
  }

  #add(level: LogLine['level'], event: string, fields: LogFields): void {
    this.lines.push({level, event, fields: {...this.#fields, ...fields}});
  }
}
