// Goal: every command says what it is, has an example and a page, and shells complete its words. Method: write the pages, render them, and ask bash.
import {execFileSync} from 'node:child_process';
import {mkdtempSync, readdirSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {COMMANDS} from '../../src/command-table.js';
import {run, shell} from '../support/dev-cluster.js';
import {ROOT} from '../support/source-tree.js';

const ids = Object.keys(COMMANDS);
let pages: string;

beforeAll(() => {
  pages = mkdtempSync(join(tmpdir(), 'cpfs-man-'));
  execFileSync('node', [join(ROOT, 'packaging/man.mjs'), pages]);
});
afterAll(() => rmSync(pages, {recursive: true, force: true}));

const page = (id: string): string =>
  readFileSync(join(pages, `cpfs-${id.replaceAll(':', '-')}.8`), 'utf8');
/** As troff wants it. */
const escaped = (text: string): string => text.replaceAll('-', '\\-');

describe('manual pages', () => {
  test.each(ids)('%s: a summary, an example, all of its flags on a page', async (id) => {
    const {default: command} = await COMMANDS[id]!();
    expect(command.summary).toMatch(/^[A-Z].*[.?]$/s);
    expect(command.examples?.length).toBeGreaterThan(0);
    const words = `cpfs ${id.replaceAll(':', ' ')}`;
    for (const example of command.examples as string[])
      expect(example.replace('<%= config.bin %>', 'cpfs')).toContain(words);
    const text = page(id);
    expect(text).toContain(`.SH EXAMPLES\n.PP\n.EX\n`);
    for (const flag of Object.keys(command.flags ?? {}))
      expect(text).toContain(escaped(`--${flag}`));
  });

  test('each topic has a page, and no page is of nothing', () => {
    const topics = ids.filter((id) => id.includes(':')).map((id) => id.split(':')[0]!);
    const names = new Set([
      'cpfs.8',
      ...[...ids, ...topics].map((id) => `cpfs-${id.replaceAll(':', '-')}.8`),
    ]);
    expect(readdirSync(pages).sort()).toEqual([...names].sort());
  });

  test('no line is taken for a request of troff that it is not', () => {
    const known = /^\.(TH|SH|TP|PP|EX|EE)( |$)/;
    for (const name of readdirSync(pages)) {
      const lines = readFileSync(join(pages, name), 'utf8').split('\n');
      expect(lines.filter((line) => /^[.']/.test(line) && !known.test(line))).toEqual([]);
    }
  });
});

describe('completion', () => {
  test.each([
    ['cpfs me', 'meta'],
    ['cpfs meta st', 'start status'],
    ['cpfs meta start --dura', '--durability'],
    ['cpfs meta start --durability ', 'disk memory both'],
    ['cpfs status -o ', 'table json'],
    ['cpfs meta start --state ', ''],
    ['cpfs rebalance ', 'pause resume status stop'],
    ['cpfs meta start --listen a:1 --in', '--inline-backup'],
  ])('bash: %s', async (typed, expected) => {
    const words = typed.split(' ').map((word) => `'${word}'`);
    const script = `eval "$(${ROOT}/bin/cpfs completion bash)"; COMP_WORDS=(${words.join(' ')}); COMP_CWORD=${words.length - 1}; _cpfs || :; echo "\${COMPREPLY[*]}"`;
    expect((await shell(script)).trim()).toBe(expected);
  });

  test.each(['zsh', 'fish'])('%s: each command is in it', async (name) => {
    const {stdout, code} = await run(join(ROOT, 'bin/cpfs'), ['completion', name]);
    expect(code).toBe(0);
    for (const id of ids) expect(stdout).toContain(`'${id.replaceAll(':', ' ')}'`);
  });
});
