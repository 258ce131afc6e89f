import {readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {expect, test} from '@jest/globals';
import {CHANGE, type LeaseEffect, type Mode, WRITE} from '../../src/core/lease/lease-object.js';
import {LeaseTable} from '../../src/core/lease/lease-table.js';
import {
  type ByteRange,
  END,
  EVERYTHING,
  isEverything,
  NOTHING,
  type Ranges,
  WHOLE,
} from '../../src/core/lease/ranges.js';

// Each line is a command; behind ` > ` stand all effects that it had. CPFS_REWRITE=1 writes the effects into the
// files: read the diff. A range of bytes is `from-to`, or `from-` to wherever the object ends; where none is said all of it is meant.
const folder = new URL('../../../test/transcript/', import.meta.url);
const names = ['none', 'read', 'write'];
const asked = (mode: Mode): 1 | 2 => (mode === 2 ? 2 : 1);
const mode = (name: string | undefined): Mode => names.indexOf(name ?? 'none') as Mode;

function rangeOf(word: string): ByteRange {
  const [from, to] = word.split('-');
  return {from: Number(from), to: to === '' ? END : Number(to)};
}

const rangesOf = (words: string | undefined): Ranges | null =>
  words === undefined ? null : words.split(',').map(rangeOf);

const text = (range: ByteRange | undefined): string => {
  if (range === undefined || isEverything(range)) return '';
  return `${range.from}-${range.to === END ? '' : range.to}`;
};

class Player {
  #table = this.#fresh();
  #now = 0;
  #ticket = 0;
  /** What clients wait for: `client verb oid` -> ticket. */
  readonly #tickets = new Map<string, number>();

  #fresh(): LeaseTable {
    return new LeaseTable({recallMs: 10_000, leasesPerSessionMax: 100});
  }

  play(command: string): string {
    const words = command.split(' ');
    if (words[0] === 'grace') {
      if (words[1] === 'over') return this.#print(this.#table.endGrace(this.#now));
      this.#table.startGrace();
      return '';
    }
    if (words[0] === 'fresh') {
      this.#table = this.#fresh();
      return '';
    }
    if (words[0] === 'tick') {
      this.#now += Number(words[1]);
      return this.#print(this.#table.tick(this.#now));
    }
    const [, client, verb, object, name, ...more] = words;
    // `yield 5 none keep 0-4,8-`; else the ranges follow at once.
    const ranges = rangesOf(more[0] === 'keep' ? more[1] : more[0]);
    const text = this.#client(Number(client), verb!, Number(object), mode(name), ranges);
    this.#table.check();
    return text;
  }

  #client(client: number, verb: string, oid: number, wanted: Mode, ranges: Ranges | null): string {
    const [now, table] = [this.#now, this.#table];
    const key = `${client} ${verb} ${oid}`;
    if (verb === 'request') {
      const ticket = this.#wait(key);
      const range = ranges?.[0] ?? EVERYTHING;
      return this.#print(table.request(client, oid, asked(wanted), ticket, now, range));
    }
    if (verb === 'look') return this.#print(table.look(client, oid, this.#wait(key), now));
    if (verb === 'change') {
      const ticket = this.#wait(key);
      if (table.tryChange(client, oid, ticket)) return 'begun';
      return this.#print(table.request(client, oid, CHANGE, ticket, now));
    }
    if (verb === 'changed') {
      const ticket = this.#tickets.get(`${client} change ${oid}`)!;
      return this.#print(table.changed(oid, ticket, now));
    }
    if (verb === 'cancel') {
      const ticket = this.#tickets.get(`${client} request ${oid}`)!;
      return this.#print(table.cancel(client, oid, ticket, now));
    }
    if (verb === 'yield')
      return this.#print(table.yield(client, oid, wanted, now, ranges ?? NOTHING));
    // It was away, and holds this and nothing else.
    if (verb === 'claims') {
      const claim = {mode: wanted, ranges: wanted === WRITE ? (ranges ?? WHOLE) : WHOLE};
      return this.#print(table.reconcile(client, new Map([[oid, claim]]), now));
    }
    if (verb === 'ended') return this.#print(table.end(client, now));
    if (verb === 'reclaim') {
      const taken = table.reclaim(client, oid, asked(wanted), now, ranges ?? WHOLE);
      return taken ? 'reclaimed' : 'refused';
    }
    if (verb === 'try')
      return `has ${names[table.tryRequest(client, oid, asked(wanted), now).mode]}`;
    throw new Error(`no such verb: ${verb}`);
  }

  #wait(key: string): number {
    this.#tickets.set(key, ++this.#ticket);
    return this.#ticket;
  }

  #print(effects: readonly LeaseEffect[]): string {
    const texts = effects.map((e) => {
      if (e.do === 'fence') return `fence c${e.session}`;
      const who = `${e.do} c${e.session} ${e.oid}`;
      if (e.do === 'recall') return `${who} to ${names[e.keep]} ${text(e.range)}`.trimEnd();
      const part = text(e.part);
      // Beside a part nothing is held of the whole.
      if (part !== '') return `${who} write ${part}${e.mode === 0 ? '' : `, ${names[e.mode]}`}`;
      return `${who} ${names[e.mode]}`;
    });
    return texts.join('; ');
  }
}

test.each(readdirSync(folder).filter((name) => /^lease-.*\.txt$/.test(name)))('%s', (name) => {
  const file = new URL(name, folder);
  const text = readFileSync(file, 'utf8');
  const player = new Player();
  const played = text.split('\n').map((line) => {
    if (line === '' || line.startsWith('#')) return line;
    const command = line.split(' >')[0]!.trimEnd();
    return `${command.padEnd(30)} > ${player.play(command)}`.trimEnd();
  });
  if (process.env.CPFS_REWRITE === '1') writeFileSync(file, played.join('\n'));
  expect(text).toBe(played.join('\n'));
});
