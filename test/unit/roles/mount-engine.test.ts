import {expect, test} from '@jest/globals';
import {CliError, EXIT} from '../../../src/roles/cli-error.js';
import {
  chooseEngine,
  type EngineSystem,
  type EngineWanted,
  optionsOf,
} from '../../../src/roles/mount/engine.js';
import {parseMountOptions} from '../../../src/roles/mount/options.js';

const FINE: EngineSystem = {
  root: true,
  release: '6.1.0-18-amd64',
  hasProgram: () => false,
  channel: () => null,
  portable: () => null,
};
const PLAIN = parseMountOptions('');

const choose = (wanted: EngineWanted, system: Partial<EngineSystem> = {}, options = PLAIN) =>
  chooseEngine(wanted, options, {...FINE, ...system});

function refusal(run: () => unknown): CliError {
  try {
    run();
  } catch (error) {
    if (error instanceof CliError) return error;
  }
  throw new Error('it was not refused');
}

test("the kernel's channel where it can run, and fuse-native where that was asked for", () => {
  expect(choose('auto')).toEqual({engine: 'kernel', because: null});
  expect(choose('kernel')).toEqual({engine: 'kernel', because: null});
  expect(choose('fuse-native')).toEqual({engine: 'fuse-native', because: null});
});

const cannot: [string, Partial<EngineSystem>, string][] = [
  ['an old kernel', {release: '4.19.0-26-amd64'}, '4.19.0-26-amd64 is older than 5.4'],
  ['a module that cannot be loaded', {channel: () => 'not built'}, 'not built'],
  ['no rights and no helper', {root: false, hasProgram: (n) => n === 'fusermount'}, 'fusermount3'],
];
test.each(cannot)(
  '%s: auto takes fuse-native and says why; kernel is refused',
  (_, system, why) => {
    const {engine, because} = choose('auto', system);
    expect(engine).toBe('fuse-native');
    expect(because).toContain(why);
    const {message, exit} = refusal(() => choose('kernel', system));
    expect([message, exit]).toEqual([expect.stringContaining(why), EXIT.failed]);
  },
);

test('5.4 and what is newer is new enough', () => {
  for (const release of ['5.4.0-1', '5.15.2', '6.0.0', '10.1'])
    expect(choose('auto', {release}).engine).toBe('kernel');
  for (const release of ['5.3.18', '4.20.0'])
    expect(choose('auto', {release}).because).not.toBeNull();
});

test('neither can run: both reasons', () => {
  const none = {channel: () => 'no channel', portable: () => 'no package'};
  const {message} = refusal(() => choose('auto', none));
  expect(message).toContain('no channel');
  expect(message).toContain('no package');
  const helper = {root: false, hasProgram: () => false};
  expect(refusal(() => choose('fuse-native', helper)).message).toContain('fusermount');
});

test('options that fuse-native cannot do are refused where somebody has asked for them, else left out', () => {
  for (const option of ['locks=cluster', 'allow_other']) {
    const options = parseMountOptions(option);
    const {message, exit} = refusal(() => choose('fuse-native', {}, options));
    expect(message).toContain(option);
    expect(message).toContain('--engine kernel');
    expect(exit).toBe(EXIT.usage);
    refusal(() => choose('auto', {channel: () => 'not built'}, options));
    expect(choose('auto', {}, options).engine).toBe('kernel');
  }
  expect(choose('fuse-native', {}, parseMountOptions('locks=local,ro')).engine).toBe('fuse-native');
  expect(optionsOf('fuse-native', PLAIN)).toMatchObject({locks: false, allowOther: false});
  expect(optionsOf('kernel', PLAIN)).toBe(PLAIN);
});
