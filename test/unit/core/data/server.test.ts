// Goal: who is let in, and when a map is obeyed. Method: a data server on a simulated host, a meta server played by the test.
import {expect, test} from '@jest/globals';
import {messageOf} from '../../../../src/core/base/errors.js';
import {DataServer} from '../../../../src/core/data/server.js';
import {sleep} from '../../../../src/core/env/clock.js';
import type * as wire from '../../../../src/core/protocol/gen/wire.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {PlainCodec} from '../../../../src/core/sim/codec.js';
import {type SimEnv, SimLand, type SimMachine} from '../../../../src/core/sim/machine.js';
import {Handlers} from '../../../../src/core/transport/handlers.js';
import {Peer} from '../../../../src/core/transport/peer.js';
import {FENCED, MAP_EPOCH, mapOf, SESSION} from '../../../support/data.js';
import {refusal} from '../../../support/meta-cluster.js';
import {defer, play} from '../../../support/sim.js';

const META = 'meta:7400';
const HELLO = {versionMin: 1, versionMax: 1, role: 'client', release: 'test', cluster: 'c'};

class Stage {
  readonly land = new SimLand(3, defer);
  readonly host: SimMachine = this.land.machine('data');
  readonly meta: SimEnv = this.land.machine('meta').boot();
  readonly client: SimEnv = this.land.machine('client').boot();
  readonly hellos: wire.HelloRequest[] = [];
  readonly beats: wire.HeartbeatRequest[] = [];
  resync = 0;
  peer!: Peer;
  server!: DataServer;
  /** Answers a hello with this map; null: later. */
  map: wire.ClusterMap | null = null;
  readonly orders: number[] = [];

  async listen(): Promise<void> {
    await this.meta.net.listen(META, (connection) => {
      const peer = new Peer(this.meta, connection);
      this.peer = peer;
      peer.serve(
        new Handlers<null>()
          .on(OPS.hello, (q) => {
            this.hellos.push(q);
            if (this.map !== null) this.meta.clock.soon(() => void this.push(this.map!));
            return {message: {version: 1, cluster: 'c', session: 99, heartbeatMs: 1000}};
          })
          .on(OPS.heartbeat, (q) => {
            this.beats.push(q);
            return {message: {epoch: MAP_EPOCH, resync: this.resync}};
          }),
        null,
      );
    });
  }

  /** The map with the server's own id in slot 0. */
  mapOf(states: string, epoch: number, fenced = [FENCED]): wire.ClusterMap {
    const map = mapOf(states, epoch, fenced) as unknown as wire.ClusterMap;
    map.groups[0]!.slots[0]!.server!.uuid = this.hellos.at(-1)!.server;
    return map;
  }

  async push(map: wire.ClusterMap): Promise<number> {
    return (await this.peer.call(OPS.mapPush, {map})).message.epoch;
  }

  boot(): Promise<string> {
    const env = {...this.host.boot(), codec: new PlainCodec()};
    this.server = new DataServer(env, {
      group: 1,
      metaAddress: META,
      listen: 'data:7000',
      onResync: (order) => this.orders.push(order),
    });
    return this.server.start();
  }

  async hello(q: Partial<wire.HelloRequest>): Promise<string> {
    const peer = new Peer(this.client, await this.client.net.connect('data:7000', 1000));
    const answer = await refusal(peer.call(OPS.hello, {...HELLO, ...q}));
    if (answer !== 'none') {
      await sleep(this.client.clock, 50);
      expect(peer.closed).toBe(true);
    }
    peer.close('done');
    return answer;
  }
}

function story(run: (stage: Stage) => Promise<void>): Promise<void> {
  const stage = new Stage();
  return play(stage.land, async () => {
    await stage.listen();
    await run(stage);
  });
}

test('no client is let in before the first map; then only who asks for this server and is not fenced', () =>
  story(async (stage) => {
    const started = stage.boot();
    await sleep(stage.meta.clock, 500);
    const {server} = stage.hellos[0]!;
    expect(stage.hellos[0]).toMatchObject({role: 'data', session: 0, group: 1, cluster: ''});
    expect(await stage.hello({server, session: SESSION})).toBe('Busy');
    expect(await stage.push(stage.mapOf('RRRRR', MAP_EPOCH))).toBe(MAP_EPOCH);
    expect(await started).toBe('data:7000');
    expect(await stage.hello({server, session: SESSION})).toBe('none');
    expect(await stage.hello({server: 'another', session: SESSION})).toBe('WrongServer');
    expect(await stage.hello({server, session: SESSION, cluster: 'd'})).toBe('WrongServer');
    expect(await stage.hello({server, session: 0})).toBe('NoSession');
    expect(await stage.hello({server, session: FENCED})).toBe('Fenced');
    expect(await stage.hello({server, session: SESSION, versionMin: 2, versionMax: 3})).toBe(
      'WrongVersion',
    );
    await stage.server.stop();
  }));

test('a server that boots before its meta server waits for it, and for its slot, however long that takes', () => {
  const stage = new Stage();
  return play(stage.land, async () => {
    const started = stage.boot();
    await sleep(stage.meta.clock, 300_000);
    await stage.listen();
    await sleep(stage.meta.clock, 100_000);
    expect(stage.hellos).toHaveLength(1);
    await stage.push(stage.mapOf('RRRRR', MAP_EPOCH));
    expect(await started).toBe('data:7000');
    await stage.server.stop();
  });
});

test('a server that waits for its meta server can be stopped', () => {
  const stage = new Stage();
  return play(stage.land, async () => {
    const ended = stage.boot().catch(messageOf);
    await sleep(stage.meta.clock, 100_000);
    await stage.server.stop();
    expect(await ended).toContain('the server stops');
  });
});

test('an acknowledged map survives the process: no older one is obeyed after it', () =>
  story(async (stage) => {
    void stage.boot();
    await sleep(stage.meta.clock, 500);
    await stage.push(stage.mapOf('RRRRR', MAP_EPOCH));
    await stage.push(stage.mapOf('RRaRR', MAP_EPOCH + 5));
    stage.host.kill(true);
    const started = stage.boot();
    await sleep(stage.meta.clock, 500);
    expect(stage.hellos.at(-1)).toMatchObject({server: stage.hellos[0]!.server, cluster: 'c'});
    expect(await refusal(stage.push(stage.mapOf('RRRRR', MAP_EPOCH + 4)))).toBe('StaleEpoch');
    expect(await stage.push(stage.mapOf('cRaRR', MAP_EPOCH + 6))).toBe(MAP_EPOCH + 6);
    await started;
    await stage.server.stop();
  }));

test('a newly fenced session is thrown out', () =>
  story(async (stage) => {
    void stage.boot();
    await sleep(stage.meta.clock, 500);
    await stage.push(stage.mapOf('RRRRR', MAP_EPOCH));
    const peer = new Peer(stage.client, await stage.client.net.connect('data:7000', 1000));
    const {server} = stage.hellos[0]!;
    await peer.call(OPS.hello, {...HELLO, server, session: SESSION});
    await stage.push(stage.mapOf('RRRRR', MAP_EPOCH + 1, [SESSION]));
    await sleep(stage.client.clock, 100);
    expect(peer.closed).toBe(true);
    await stage.server.stop();
  }));

test('heartbeats tell space and epoch; an order is passed on once and reported when done', () =>
  story(async (stage) => {
    void stage.boot();
    await sleep(stage.meta.clock, 500);
    await stage.push(stage.mapOf('RRRRR', MAP_EPOCH));
    stage.resync = 4;
    await sleep(stage.meta.clock, 3500);
    expect(stage.orders).toEqual([4]);
    stage.server.resyncDone(4);
    await sleep(stage.meta.clock, 1500);
    const last = stage.beats.at(-1)!;
    expect(last).toMatchObject({epoch: MAP_EPOCH, doneResync: 4});
    // 64 MiB stay in reserve.
    expect(last.totalBytes - last.freeBytes).toBeGreaterThanOrEqual(64 * 2 ** 20);
    await stage.server.stop();
  }));
