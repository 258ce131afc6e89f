// Goal: what can be typed is what the folder of commands holds, and no more of it is loaded than is asked for. Method: compare the table with the
// files; ask for some words.
import {readdirSync} from 'node:fs';
import {join} from 'node:path';
import {describe, expect, test} from '@jest/globals';
import {COMMANDS, neededCommands} from '../../../src/command-table.js';
import {ROOT} from '../../support/source-tree.js';

const all = Object.keys(COMMANDS);

describe('the table of commands', () => {
  test('it has each file of src/commands that is no _part of others, under its path', async () => {
    const files = readdirSync(join(ROOT, 'src/commands'), {recursive: true, encoding: 'utf8'})
      .filter((file) => /(^|\/)[^_/][^/]*\.ts$/.test(file))
      .map((file) => file.replace(/(\/index)?\.ts$/, '').replaceAll('/', ':'));
    expect([...all].sort()).toEqual(files.sort());
  });

  test('each entry loads the command of its name', async () => {
    for (const [id, load] of Object.entries(COMMANDS)) {
      const named = (await load()).default.name.toLowerCase().replace(/command$/, '');
      expect([id, named]).toEqual([id, id.replaceAll(/[:-]/g, '')]);
    }
  });

  test.each([
    ['--version', []],
    ['status -o json', ['status']],
    ['meta start --help', ['meta:start']],
    ['rebalance --dry-run', ['rebalance']],
    ['rebalance status', ['rebalance:status']],
    ['meta', all],
    ['--help', all],
    ['', all],
    ['rebalance --help', all],
    ['no such thing', all],
    ['constructor', all],
  ])('cpfs %s: loads what it needs', (words, expected) => {
    expect(neededCommands(words.split(' ').filter((w) => w !== ''))).toEqual(expected);
  });
});
