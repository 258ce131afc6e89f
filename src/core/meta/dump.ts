import {crc32c} from '../base/crc32c.js';
import {FsError, messageOf} from '../base/errors.js';
import {type DumpRow, entryOfRow, rowOf} from './dump-rows.js';
import type {LogPosition} from './log.js';
import {type Entry, entryOf} from './store.js';

const PAGE = 256;
/** Behind all keys. */
const END = '\xff'.repeat(9);
const KIND = 'meta-dump';

export interface DumpHeader {
  cpfs: typeof KIND;
  version: 1;
  release: string;
  cluster: string;
  /** Last record of the log that the state has, its sum, and the digest of all changes until then. */
  sequence: number;
  sum: number;
  digest: number;
}

interface DumpEnd {
  rows: number;
  /** CRC32C of all lines before, with their ends. */
  sum: number;
}

export interface DumpSource extends LogPosition {
  release: string;
  cluster: string;
  digest: number;
  range(from: string, to: string, limit: number): Iterable<Entry>;
}

/** The state as lines of JSON, without their ends: a header, a line for each entry in the order of keys, and how many with their sum. */
export function* dumpLines(source: DumpSource): Generator<string> {
  const {release, cluster, sequence, sum, digest} = source;
  const header: DumpHeader = {
    cpfs: KIND,
    version: 1,
    ...{release, cluster, sequence, sum, digest},
  };
  const end: DumpEnd = {rows: 0, sum: 0};
  const line = (value: unknown): string => {
    const text = JSON.stringify(value);
    end.sum = sumOf(text, end.sum);
    return text;
  };
  yield line(header);
  // Keys that begin with a zero byte are of the store, not of the state.
  for (let from = '\x01'; ; ) {
    const rows = [...source.range(from, END, PAGE)];
    for (const row of rows) yield line(rowOf(row));
    end.rows += rows.length;
    if (rows.length < PAGE) break;
    from = `${rows.at(-1)![0]}\0`;
  }
  yield JSON.stringify(end);
}

const sumOf = (line: string, before: number): number => {
  const bytes = Buffer.from(`${line}\n`, 'utf8');
  return crc32c(bytes, 0, bytes.length, before);
};

const wrong = (number: number, what: string): FsError =>
  new FsError('EINVAL', `line ${number}: ${what}`);

/** Reads the lines of a dump, one after the other. */
export class DumpReader {
  /** Lines were changed by hand: their sum, number and order say nothing. */
  readonly #edited: boolean;
  #header: DumpHeader | null = null;
  #line = 0;
  #rows = 0;
  #sum = 0;
  #before = '';
  #ended = false;

  constructor(edited: boolean) {
    this.#edited = edited;
  }

  /** The entry that the line is; null: it is none. FsError EINVAL: what is wrong with it. */
  read(text: string): Entry | null {
    this.#line++;
    if (text === '' && this.#edited) return null;
    if (this.#ended) throw wrong(this.#line, 'the dump has ended before');
    let parsed: unknown;
    try {
      parsed = JSON.parse(text);
    } catch (error) {
      throw wrong(this.#line, `it is no JSON (${messageOf(error)})`);
    }
    if (typeof parsed !== 'object' || parsed === null)
      throw wrong(this.#line, 'it is no object of JSON');
    if (this.#header === null) {
      this.#begin(parsed as DumpHeader);
      this.#sum = sumOf(text, 0);
      return null;
    }
    if ('rows' in parsed) {
      this.#end(parsed as DumpEnd);
      return null;
    }
    this.#sum = sumOf(text, this.#sum);
    return this.#row(parsed as DumpRow);
  }

  #begin(header: DumpHeader): void {
    const {cpfs, version, sequence, sum, digest, cluster} = header;
    if (cpfs !== KIND) throw wrong(this.#line, "it is not the beginning of a 'cpfs meta dump'");
    if (version !== 1)
      throw wrong(this.#line, `the dump is of version ${String(version)}, this release reads 1`);
    const numbers = [sequence, sum, digest];
    if (!numbers.every((n) => Number.isSafeInteger(n) && n >= 0) || typeof cluster !== 'string')
      throw wrong(this.#line, 'the header lacks something');
    this.#header = header;
  }

  #row(row: DumpRow): Entry {
    let entry: Entry;
    try {
      entry = entryOfRow(row);
    } catch (error) {
      throw wrong(this.#line, messageOf(error));
    }
    const [key] = entry;
    if (!this.#edited && key <= this.#before)
      throw wrong(this.#line, 'it is not in the order of keys');
    this.#before = key;
    this.#rows++;
    return entry;
  }

  #end({rows, sum}: DumpEnd): void {
    this.#ended = true;
    if (this.#edited || (rows === this.#rows && sum === this.#sum)) return;
    throw wrong(this.#line, `the dump says ${rows} rows with another sum: it was changed`);
  }

  /** What the store has to say that it is of this moment. FsError EINVAL: the dump has not come to its end. */
  finish(): {header: DumpHeader; rows: number; position: Entry} {
    if (this.#header === null || !this.#ended) throw wrong(this.#line, 'the dump ends too soon');
    const {sequence, sum, digest} = this.#header;
    return {header: this.#header, rows: this.#rows, position: entryOf({sequence, sum, digest})};
  }
}
