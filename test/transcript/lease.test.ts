import {readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {expect, test} from '@jest/globals';
import type {LeaseEffect, Mode} from '../../src/core/lease/lease-object.js';
import {LeaseTable} from '../../src/core/lease/lease-table.js';

// Each line is a command; behind ` > ` stand all effects that it had. CPFS_REWRITE=1 writes the effects into the
// files: read the diff.
const folder = new URL('../../../test/transcript/', import.meta.url);
const names = ['none', 'read', 'write'];
const asked = (mode: Mode): 1 | 2 => (mode === 2 ? 2 : 1);
const mode = (name: string | undefined): Mode => names.indexOf(name ?? 'none') as Mode;

class Player {
  readonly #table = new LeaseTable({recallMs: 10_000, leasesPerSessionMax: 100});
  #now = 0;
  #ticket = 0;

  play(command: string): string {
    const words = command.split(' ');
    if (words[0] === 'grace') {
      if (words[1] === 'over') return this.#print(this.#table.endGrace(this.#now));
      this.#table.startGrace();
      return '';
    }
    if (words[0] === 'tick') {
      this.#now += Number(words[1]);
      return this.#print(this.#table.tick(this.#now));
    }
    const [, client, verb, object, name] = words;
    const text = this.#client(Number(client), verb!, Number(object), mode(name));
    this.#table.check();
    return text;
  }

  #client(client: number, verb: string, oid: number, wanted: Mode): string {
    const now = this.#now;
    if (verb === 'request') {
      return this.#print(this.#table.request(client, oid, asked(wanted), ++this.#ticket, now));
    }
    if (verb === 'yield') return this.#print(this.#table.yield(client, oid, wanted, now));
    if (verb === 'ended') return this.#print(this.#table.end(client, now));
    if (verb === 'reclaim') {
      return this.#table.reclaim(client, oid, asked(wanted), now) ? 'reclaimed' : 'refused';
    }
    if (verb === 'try')
      return `has ${names[this.#table.tryRequest(client, oid, asked(wanted), now).mode]}`;
    throw new Error(`no such verb: ${verb}`);
  }

  #print(effects: readonly LeaseEffect[]): string {
    const texts = effects.map((e) => {
      if (e.do === 'grant') return `grant c${e.session} ${e.oid} ${names[e.mode]}`;
      if (e.do === 'recall') return `recall c${e.session} ${e.oid} to ${names[e.keep]}`;
      return `fence c${e.session}`;
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
