// Goal: what looks like a secret is hidden, and names of files with secrets are not. Levels of logs change, and are again as before.
import {expect, jest, test} from '@jest/globals';
import {isLogLevels, LogLevels} from '../../../src/core/os/log-levels.js';
import {withoutSecrets} from '../../../src/roles/support/secrets.js';

test.each([
  ['{"password":"hunter2","a":1}', '{"password":"(hidden)","a":1}'],
  ['TOKEN=abc.def next', 'TOKEN=(hidden) next'],
  ['etcd://user:hunter2@10.0.0.1:2379', 'etcd://(hidden)@10.0.0.1:2379'],
  ['api-key: "x y" z', 'api-key: "(hidden)" z'],
  ['{"error":"{\\"secret\\":\\"x y\\"}"}', '{"error":"{\\"secret\\":\\"(hidden)\\"}"}'],
  ['Authorization: Bearer abc', 'Authorization: (hidden)'],
  [
    'a\n-----BEGIN RSA PRIVATE KEY-----\nMII\nxyz\n-----END RSA PRIVATE KEY-----\nb',
    'a\n(hidden)\nb',
  ],
])('%j is shown as %j', (text, shown) => {
  expect(withoutSecrets(text)).toBe(shown);
});

test('names of files with secrets, and all other text, stay', () => {
  const text =
    'etcds://10.0.0.1:2379?user=me&password-file=/etc/cpfs/password {"event":"peer.closed"}';
  expect(withoutSecrets(text)).toBe(text);
});

test('levels: by category, for a while, and as configured again', () => {
  jest.useFakeTimers({doNotFake: ['performance']});
  try {
    const levels = new LogLevels('info,peer=debug');
    expect([levels.has('debug', 'peer.closed'), levels.has('debug', 'map.obeyed')]).toEqual([
      true,
      false,
    ]);
    expect(levels.setLevels('map=debug', 60_000)).toBe(true);
    expect(levels.levels).toBe('info,map=debug');
    expect(levels.revertsMs).toBeGreaterThan(59_000);
    expect([levels.has('debug', 'peer.closed'), levels.has('debug', 'map.obeyed')]).toEqual([
      false,
      true,
    ]);
    jest.advanceTimersByTime(60_000);
    expect([levels.levels, levels.revertsMs]).toEqual(['info,peer=debug', 0]);
    expect(levels.setLevels('warn', 0)).toBe(true);
    expect([levels.has('info', 'x'), levels.has('warn', 'x')]).toEqual([false, true]);
    expect(levels.setLevels('loud', 0)).toBe(false);
    expect(levels.levels).toBe('warn');
    levels.configure('peer=error');
    expect(levels.levels).toBe('info,peer=error');
  } finally {
    jest.useRealTimers();
  }
  for (const text of ['', 'loud', 'info,peer', 'info,=debug', 'info,Peer=debug', 'info,a=b=c'])
    expect([text, isLogLevels(text)]).toEqual([text, false]);
});
