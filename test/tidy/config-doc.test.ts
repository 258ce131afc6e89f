// Goal: documents of the settings are what the table says, and no command has a list of its own. Method: compare, search.
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {expect, test} from '@jest/globals';
import {configDocument, configFile, configManual} from '../../src/roles/config/document.js';
import {envOf, flagOf, KEYS} from '../../src/roles/config/schema.js';
import {ROOT, sourceFiles} from '../support/source-tree.js';

test.each([
  ['docs/config.md', configDocument],
  ['packaging/man/cpfs.toml.5', configManual],
  ['packaging/conf/cpfs.toml', configFile],
])('%s is what the table of settings says (CPFS_REWRITE=1 rewrites it)', (path, document) => {
  const file = join(ROOT, path);
  if (process.env.CPFS_REWRITE === '1') {
    mkdirSync(dirname(file), {recursive: true});
    writeFileSync(file, document());
  }
  expect(readFileSync(file, 'utf8')).toBe(document());
});

test('of one role no two settings have one flag, or one variable', () => {
  const names = (of: (key: (typeof KEYS)[number]) => string | null) =>
    KEYS.map((key) => `${key.split('.')[0]} ${of(key)}`).filter((name) => !name.endsWith('null'));
  for (const all of [names(flagOf), names(envOf)]) expect(new Set(all).size).toBe(all.length);
});

test('variables of the environment are settings; only dev clusters, and --config itself, have others', () => {
  const own = sourceFiles('src/commands', /\.ts$/)
    .filter(({text}) => /\benv: '|process\.env\./.test(text))
    .map(({path}) => path);
  expect(own).toEqual(['src/commands/_base.ts']);
});
