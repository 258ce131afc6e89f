// Goal: names of meta servers lead to their addresses. Method: DNS and a coordinator in memory; for services a DNS server of a few lines.
import {createSocket} from 'node:dgram';
import {describe, expect, test} from '@jest/globals';
import {encodeKey} from '../../../../src/core/base/coordinator-keys.js';
import {Lost} from '../../../../src/core/base/errors.js';
import type {Coordinator} from '../../../../src/core/env/coordinator.js';
import {systemClock} from '../../../../src/core/os/clock.js';
import {askService, type Sources, SystemResolver} from '../../../../src/core/os/resolver.js';
import {ManualClock} from '../../../support/manual-clock.js';

const HOSTS: Record<string, string[]> = {
  meta: ['10.0.0.1', '10.0.0.2'],
  first: ['10.0.0.3'],
  second: ['fe80::4'],
};
const unknown = (name: string): never => {
  throw new Error(`queryA ENOTFOUND ${name}`);
};

function rig() {
  const asked: string[] = [];
  const keys = new Map<string, Uint8Array>();
  let closed = 0;
  const sources: Sources = {
    host: async (name) => {
      asked.push(name);
      return (HOSTS[name] ?? unknown(name)).map((address) => ({address, family: 4}));
    },
    service: async (name) => [
      {name: 'second', port: 2, priority: 20, weight: 1},
      {name: 'gone', port: 3, priority: 10, weight: 1},
      {
        name: 'first',
        port: name === '_cpfs-meta._tcp.example.com' ? 1 : 9,
        priority: 10,
        weight: 5,
      },
    ],
    coordinator: async () =>
      ({
        get: async (key: string) => {
          const value = keys.get(key);
          return value === undefined ? null : {value, revision: 1, created: 1};
        },
        close: async () => void closed++,
      }) as Partial<Coordinator> as Coordinator,
  };
  const clock = new ManualClock();
  return {asked, keys, clock, resolver: new SystemResolver(clock, sources), closed: () => closed};
}

describe('names of meta servers', () => {
  test('addresses say themselves where they are', () => {
    expect(rig().resolver.resolve('10.0.0.1:1,[::1]:2')).toBeNull();
  });

  test('a host stands for all its addresses, beside others', async () => {
    const {resolver} = rig();
    expect(await resolver.resolve('meta:7400,10.0.0.9:1,meta:7400')).toEqual([
      ...['10.0.0.1:7400', '10.0.0.2:7400', '10.0.0.9:1'],
    ]);
  });

  test('who is not known is left out; where nobody is, it is said', async () => {
    const {resolver} = rig();
    expect(await resolver.resolve('none:1,first:1')).toEqual(['10.0.0.3:1']);
    await expect(resolver.resolve('none:1,nobody:1')).rejects.toEqual(
      new Lost('queryA ENOTFOUND none'),
    );
  });

  test('targets of a service in the order of their priorities', async () => {
    const {resolver} = rig();
    expect(await resolver.resolve('srv:example.com')).toEqual(['10.0.0.3:1', '[fe80::4]:2']);
  });

  test('those that ask at the same time ask once', async () => {
    const {resolver, asked, clock} = rig();
    await Promise.all([resolver.resolve('first:1'), resolver.resolve('first:1')]);
    expect(asked).toEqual(['first']);
    await clock.advance(501);
    await resolver.resolve('first:1');
    expect(asked).toEqual(['first', 'first']);
  });

  test('a coordinator names the active one, then those that may take over', async () => {
    const {resolver, keys, clock, closed} = rig();
    const url = 'etcd://a:1/x';
    await expect(resolver.resolve(url)).rejects.toEqual(
      new Lost('etcd knows of no meta server under /x'),
    );
    const inSync = ['10.0.0.1:1', '10.0.0.2:1'].map((address) => ({
      node: address,
      life: '',
      address,
    }));
    keys.set('/x/standing', encodeKey({term: 1, node: '', serial: 0, inSync}));
    keys.set('/x/active', encodeKey({term: 1, node: '', address: '10.0.0.2:1'}));
    await clock.advance(501);
    expect(await resolver.resolve(url)).toEqual(['10.0.0.2:1', '10.0.0.1:1']);
    keys.set('/x/active', Buffer.from('not ours'));
    await clock.advance(501);
    await expect(resolver.resolve(url)).rejects.toThrow(Lost);
    expect(closed()).toBe(3);
  });

  test('the hosts of this machine', async () => {
    const found = await new SystemResolver(systemClock).resolve('localhost:7400');
    expect(found).toContain('127.0.0.1:7400');
  });

  test('a service, as a DNS server says', async () => {
    const server = createSocket('udp4');
    server.on('message', (query, from) => {
      // Id, flags: an answer, one question, one record; the question again; its name, SRV, IN, 60 s; priority, weight, port, and `m.x`.
      const question = query.subarray(12, query.indexOf(0, 12) + 5);
      const record = Buffer.from(
        'c00c00210001' + '0000003c' + '000b' + '000100021ce8' + '016d017800',
        'hex',
      );
      const head = Buffer.from('81800001000100000000', 'hex');
      const answer = Buffer.concat([query.subarray(0, 2), head, question, record]);
      server.send(answer, from.port, from.address);
    });
    await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve));
    try {
      const found = await askService('_cpfs-meta._tcp.x', `127.0.0.1:${server.address().port}`);
      expect(found).toMatchObject([{name: 'm.x', port: 7400, priority: 1, weight: 2}]);
    } finally {
      server.close();
    }
  });
});
