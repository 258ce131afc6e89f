// Goal: each setting can be given at each level, the strongest holds, and its origin is named. Method: random sets of places against a fold by hand; mistakes by example.
import {mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, describe, expect, test} from '@jest/globals';
import {Config} from '@oclif/core';
import fc from 'fast-check';
import {CpfsCommand} from '../../../src/commands/_base.js';
import {setting} from '../../../src/commands/_settings.js';
import {CliError} from '../../../src/roles/cli-error.js';
import {fileLayer, layersBelow, Resolved} from '../../../src/roles/config/load.js';
import {nearest} from '../../../src/roles/config/nearest.js';
import {envOf, KEYS, type Key, type Setting, settingOf} from '../../../src/roles/config/schema.js';
import {formatValue, parseDuration, parseValue} from '../../../src/roles/config/values.js';
import {ROOT} from '../../support/source-tree.js';

const folder = mkdtempSync(join(tmpdir(), 'cpfs-config-'));
afterAll(() => rmSync(folder, {recursive: true, force: true}));
mkdirSync(join(folder, 'conf.d'));
const SYSTEM = join(folder, 'cpfs.toml');
const PART = join(folder, 'conf.d', '10.toml');
const OWN = join(folder, 'own.toml');

/** Texts that are values of a setting. */
function texts({type, options, min, max}: Setting): fc.Arbitrary<string> {
  const row = {type, default: null, summary: ''} as const;
  const number = fc.integer({min: min ?? 0, max: max ?? 1});
  const of = {
    choice: () => fc.constantFrom(...(options ?? [])),
    boolean: () => fc.constantFrom('on', 'off'),
    size: () => number.map((n) => formatValue(row, n)),
    time: () => number.map((n) => formatValue(row, n)),
    integer: () => number.map(String),
    address: () => fc.integer({min: 1, max: 9999}).map((n) => `10.0.0.1:${n}`),
    admin: () => fc.constantFrom('off', '127.0.0.1:7402', '[::1]:9'),
    metas: () => fc.constantFrom('a:1', 'a:1,b:2', 'srv:example.com', 'etcd://a:2379'),
    coordinator: () => fc.constantFrom('etcd://a:1', 'etcd://a:1,b:2/x'),
    scheme: () => fc.constantFrom('4+1', '4+2', '1+1'),
    location: () => fc.constantFrom('r1', 'r1/h2'),
    levels: () => fc.constantFrom('info', 'warn,peer=debug'),
    text: () => fc.constantFrom('a', 'b"\\'),
    path: () => fc.constantFrom('/a', '/b c/"d"'),
  };
  return of[type]();
}

/** The flags of all settings, under names of their own. */
class Probe extends CpfsCommand {
  static override flags = Object.fromEntries(
    KEYS.map((key) => [key.replace('.', '-'), setting(key)]),
  );
  async run(): Promise<void> {}
  async found() {
    const {flags} = await this.parse(Probe);
    return {flags: flags as Record<string, unknown>, resolved: await this.settings()};
  }
}
const oclif = Config.load(ROOT);

const EXCLUSIVE: Key[] = ['data.group', 'data.spare', 'data.auto'];
const PLACES = ['system', 'part', 'file', 'environment', 'flag'] as const;
const anyKey = fc.constantFrom(...KEYS.filter((key) => !EXCLUSIVE.includes(key)));
const given = anyKey.chain((key) =>
  fc.record({
    key: fc.constant(key),
    at: fc.record(
      Object.fromEntries(
        PLACES.map((place) => [place, fc.option(texts(settingOf(key)), {nil: undefined})]),
      ),
    ) as fc.Arbitrary<Partial<Record<(typeof PLACES)[number], string>>>,
  }),
);

function inFile(path: string, key: Key, text: string | undefined): void {
  writeFileSync(path, text === undefined ? '' : `${key} = ${JSON.stringify(text)}\n`);
}

async function runs(key: Key, at: Partial<Record<(typeof PLACES)[number], string>>) {
  inFile(SYSTEM, key, at.system);
  inFile(PART, key, at.part);
  inFile(OWN, key, at.file);
  const row = settingOf(key);
  const name = key.replace('.', '-');
  const flag =
    at.flag === undefined
      ? []
      : row.type !== 'boolean' || row.onOff === true
        ? [`--${name}=${at.flag}`]
        : [at.flag === 'on' ? `--${name}` : `--no-${name}`];
  process.env.CPFS_CONFIG_DIR = folder;
  if (at.environment !== undefined) process.env[envOf(key)] = at.environment;
  try {
    return await new Probe([...flag, '--config', OWN], await oclif).found();
  } finally {
    delete process.env.CPFS_CONFIG_DIR;
    delete process.env[envOf(key)];
  }
}

describe('precedence', () => {
  test.each(KEYS)('%s can be given at each level alone', async (key) => {
    const [text] = fc.sample(texts(settingOf(key)), {numRuns: 1, seed: 1});
    const origins = {system: SYSTEM, part: PART, file: OWN, environment: envOf(key), flag: 'flag'};
    for (const place of PLACES) {
      const {resolved, flags} = await runs(key, {[place]: text});
      const value = parseValue(settingOf(key), text!, 'it');
      expect(resolved.of(key)).toMatchObject({value, origin: origins[place]});
      expect(flags[key.replace('.', '-')]).toBe(value);
    }
    const {resolved} = await runs(key, {});
    expect(resolved.of(key)).toMatchObject({level: 'default', origin: 'default'});
  });

  test('of several levels the strongest holds, for flags of commands, too', async () => {
    await fc.assert(
      fc.asyncProperty(given, async ({key, at}) => {
        const {resolved, flags} = await runs(key, at);
        const strongest = [...PLACES].reverse().find((place) => at[place] !== undefined);
        const row = settingOf(key);
        const value =
          strongest === undefined
            ? (row.default ?? undefined)
            : parseValue(row, at[strongest]!, 'it');
        const level = strongest === 'part' ? 'system' : (strongest ?? 'default');
        expect(resolved.of(key)).toMatchObject({value, level});
        expect(flags[key.replace('.', '-')]).toBe(value);
      }),
      {numRuns: 300, seed: 7},
    );
  });

  test('what is written is what is read', () => {
    fc.assert(
      fc.property(
        anyKey.chain((key) => texts(settingOf(key)).map((text) => ({key, text}))),
        ({key, text}) => {
          const row = settingOf(key);
          const value = parseValue(row, text, 'it');
          expect(parseValue(row, formatValue(row, value), 'it')).toBe(value);
        },
      ),
      {seed: 3},
    );
  });

  test('of those that exclude each other a stronger one takes the weaker away; two at one level are refused', async () => {
    const {flags} = await runs('data.group', {file: '3', environment: '4'});
    expect(flags['data-group']).toBe(4);
    inFile(OWN, 'data.group', '3');
    const spare = {level: 'flag', origin: () => 'flag', values: new Map([['data.spare', true]])};
    const file = await layersBelow(OWN, {CPFS_CONFIG_DIR: folder});
    const resolved = new Resolved([...file, spare as never]);
    expect([resolved.get('data.group'), resolved.get('data.spare')]).toEqual([undefined, true]);
    writeFileSync(OWN, 'data.group = 3\ndata.auto = true\n');
    const both = await layersBelow(OWN, {CPFS_CONFIG_DIR: folder});
    expect(() => new Resolved(both)).toThrow(
      /data.group .*own.toml.* and data.auto .* exclude each other/,
    );
  });
});

async function problems(toml: string): Promise<string[]> {
  writeFileSync(OWN, toml);
  const said: string[] = [];
  await fileLayer(OWN, 'file', ({message}) => said.push(message));
  return said;
}

test.each([
  ['[data]\ngroop = 2', /there is no setting 'data.groop'; did you mean 'data.group'\?/],
  ['[dta]\ngroup = 2', /there is no setting 'dta'/],
  ['listen = "a:1"', /there is no setting 'listen'/],
  ['[data]\ngroup = 70000', /data.group is a number from 1 to 65535, not '70000'/],
  ['[data]\ngroup = 2.5', /data.group is a number from/],
  ['[data]\ngroup = [2]', /data.group is one value, not a table or a list/],
  ['[data.group]\nx = 2', /data.group is one value/],
  ['[data]\nlisten = 7401', /data.listen is a text in quotes, not 7401/],
  ['[data]\nlisten = "7401"', /data.listen must be HOST:PORT, not '7401'/],
  ['[data]\nleak-grace = "2 weeks"', /data.leak-grace is a time from 1s to 365d/],
  ['[mount]\ncache-size = "1KiB"', /mount.cache-size is a size from/],
  ['[mount]\ncache = "some"', /mount.cache is full or attr or none, not 'some'/],
  ['[meta]\ncoordinator = "etcd://u:p@a:1"', /meta.coordinator: 'u:p@a:1' is not HOST:PORT/],
  ['[log]\nlevel = "loud"', /log.level is debug, info, warn or error/],
  ['[data\n', /own.toml:1:\d+: /],
])('a file with %j is refused in one sentence', async (toml, sentence) => {
  const said = await problems(toml);
  expect(said).toHaveLength(1);
  expect(said[0]).toMatch(sentence);
  expect(said[0]).not.toContain('\n');
});

test('all that is wrong is said, and a command stops at the first', async () => {
  expect(await problems('a = 1\nb = 2\n[meta]\nfailover = "1s"')).toHaveLength(3);
  await expect(layersBelow(OWN, {CPFS_CONFIG_DIR: folder})).rejects.toThrow(CliError);
  await expect(layersBelow(join(folder, 'none.toml'), {})).rejects.toThrow(/cannot read .*ENOENT/);
  await expect(
    layersBelow(undefined, {CPFS_CONFIG_DIR: join(folder, 'none'), CPFS_META_FAILOVER: '1'}),
  ).rejects.toThrow(/CPFS_META_FAILOVER is a time/);
});

test('times and names', () => {
  const times = ['30s', '500ms', '10min', '10m', '12h', '7d', '30', '1.5s', 's', '1 week'];
  expect(times.map(parseDuration)).toEqual([
    ...[30, 0.5, 600, 600, 43_200, 604_800, 30],
    ...[null, null, null],
  ]);
  expect(nearest('meta.lisen', KEYS)).toBe('meta.listen');
});
