// Goal: systemd hears what sd_notify(3) says, in the right order, and nobody else does. Method: a list in place of its socket; then the real socket, asked by python.
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import {setTimeout as delay} from 'node:timers/promises';
import {expect, test} from '@jest/globals';
import {silentLog} from '../../../src/core/env/log.js';
import {sendDatagram} from '../../../src/core/os/datagram.js';
import {Supervisor} from '../../../src/roles/supervisor.js';

function heard(env: NodeJS.ProcessEnv) {
  const said: string[] = [];
  const send = (socket: string, text: string) => {
    said.push(`${socket} ${text}`);
    return 0;
  };
  return {said, supervisor: new Supervisor(silentLog, env, send)};
}

test('ready, signs of life twice as often as they are asked for, stopping', async () => {
  const env = {NOTIFY_SOCKET: '/run/notify', WATCHDOG_USEC: '20000', OTHER: '1'};
  const {said, supervisor} = heard(env);
  expect(said).toEqual([]);
  supervisor.ready();
  const begin = performance.now();
  while (said.length < 4 && performance.now() - begin < 5000) await delay(5);
  supervisor.stopping();
  expect(said[0]).toBe('/run/notify READY=1');
  expect(new Set(said.slice(1, -1))).toEqual(new Set(['/run/notify WATCHDOG=1']));
  expect(said.length).toBeGreaterThanOrEqual(5);
  expect(said.at(-1)).toBe('/run/notify STOPPING=1');
  expect(env).toEqual({OTHER: '1'});
});

test.each([
  ['nobody asks', {}, 0],
  ['a socket that is none', {NOTIFY_SOCKET: 'vsock:2:1'}, 0],
  ['no watchdog', {NOTIFY_SOCKET: '@abstract'}, 1],
  [
    'a watchdog for another process',
    {NOTIFY_SOCKET: '@abstract', WATCHDOG_USEC: '2000', WATCHDOG_PID: '1'},
    1,
  ],
])('%s', async (_, env, count) => {
  const {said, supervisor} = heard(env);
  supervisor.ready();
  await delay(20);
  expect(said).toHaveLength(count);
});

const LISTEN = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = sys.argv[1]
s.bind('\\0' + name[1:] if name[0] == '@' else name)
print('ready', flush=True)
print(s.recv(4096).decode(), flush=True)
`;

test.each(['a path', 'an abstract name'])('a datagram arrives at %s', async (kind) => {
  const folder = mkdtempSync(join(tmpdir(), 'cpfs-notify-'));
  const socket = kind === 'a path' ? join(folder, 's') : `@cpfs-test-${process.pid}`;
  const listener = spawn('python3', ['-c', LISTEN, socket], {stdio: ['ignore', 'pipe', 'inherit']});
  try {
    const lines = createInterface(listener.stdout);
    await once(lines, 'line');
    const answer = once(lines, 'line');
    expect(sendDatagram(socket, 'READY=1')).toBe(0);
    expect(await answer).toEqual(['READY=1']);
  } finally {
    listener.kill('SIGKILL');
    rmSync(folder, {recursive: true, force: true});
  }
});

test('a datagram to nobody is an errno, misuse throws', () => {
  expect(sendDatagram('/nowhere/at/all', 'x')).toBe(2);
  expect(sendDatagram('/'.padEnd(200, 'x'), 'x')).toBe(22);
  expect(() => sendDatagram(1 as unknown as string, 'x')).toThrow('(string, string)');
});
