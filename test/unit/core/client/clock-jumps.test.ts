// Goal: who sets a clock wrong, or sets it right, harms nobody (leases, sessions, servers go by other clocks), and scrubs go on. Method: whole servers and clients in simulation, whose wall clocks jump by years.
import {describe, expect, test} from '@jest/globals';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {RealCluster} from '../../../support/real-cluster.js';

const YEAR = 365 * 86_400_000;
const HOUR = 3_600_000;
const bytes = (from: number): Buffer =>
  Buffer.from(Array.from({length: 20_000}, (_, i) => (from + i * 7) % 251));

describe('wall clocks that jump', () => {
  test('end no session, take no lease, lose no server', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const b = await cluster.client('b');
      const clocks = [cluster.meta.host, a.machine, b.machine, ...cluster.machines];
      const oid = await a.create('f');
      const {sessions, map} = await cluster.meta.status();
      for (const [turn, jump] of [YEAR, -2 * YEAR, HOUR, -HOUR, 30 * YEAR].entries()) {
        for (const [index, {clock}] of clocks.entries())
          if ((index + turn) % 2 === 0) clock.skew += jump;
        await a.write(oid, 0, bytes(turn));
        await cluster.meta.pass(12_000);
        const seen = await b.open('f', false);
        expect((await b.read(seen, 0, 20_000)).equals(bytes(turn))).toBe(true);
        const now = await cluster.meta.status();
        expect(now.sessions.map(({id}) => id)).toEqual(sessions.map(({id}) => id));
        expect(await cluster.meta.states()).toBe('RRRRR');
        expect(now.map!.epoch).toBe(map!.epoch);
      }
      await a.close();
      await b.close();
    }));

  test('that were ahead do not put scrubs off', () =>
    RealCluster.run(async (cluster) => {
      const passes = async (): Promise<number[]> => {
        const admin = await cluster.meta.admin();
        const {message} = await admin.call(OPS.scrub, {
          settings: {paused: 0, rate: 0, interval: 1 + 600},
        });
        admin.close('done');
        return message.servers.map(({figures}) => figures?.lastS ?? 0);
      };
      const a = await cluster.client('a');
      const oid = await a.create('f');
      await a.write(oid, 0, bytes(1));
      await a.client.fsync(oid);
      for (const {clock} of cluster.machines) clock.skew += YEAR;
      await passes();
      await cluster.meta.pass(1_300_000);
      const ahead = await passes();
      expect(Math.min(...ahead)).toBeGreaterThan(0);
      for (const {clock} of cluster.machines) clock.skew -= YEAR;
      await cluster.meta.pass(1_300_000);
      for (const [index, ended] of (await passes()).entries()) {
        expect(ended).toBeGreaterThan(0);
        expect(ended).toBeLessThan(ahead[index]!);
      }
      await a.close();
    }));
});
