import {BufferPool, poolBytes} from '../../src/core/base/pool.js';
import {GROUP, SLOT} from '../../src/core/cluster/map.js';
import {silentLog} from '../../src/core/env/log.js';
import {systemClock} from '../../src/core/os/clock.js';
import {TcpNet} from '../../src/core/os/net-tcp.js';
import type {NodeStatusReply, StatusReply} from '../../src/core/protocol/gen/wire.js';
import {OPS} from '../../src/core/protocol/ops.js';
import {Handlers} from '../../src/core/transport/handlers.js';
import {Peer} from '../../src/core/transport/peer.js';
import {OWN_RELEASE} from '../../src/roles/release.js';

const MIB = 1 << 20;
const GIB = 1024 * MIB;
const SLOTS = 5;
const CLUSTER = 'f00d'.repeat(8);

export interface FakeMeta {
  address: string;
  close(): Promise<void>;
}

/** Listens as the active meta server of a cluster of 4+1 that is not there: so many data servers and clients, all busy, each time more. */
export async function fakeMeta(servers: number, clients: number): Promise<FakeMeta> {
  const shape = {small: 64, medium: 8, large: 0};
  const pool = new BufferPool(new ArrayBuffer(poolBytes(shape)), shape);
  const env = {clock: systemClock, pool, log: silentLog, release: OWN_RELEASE};
  const net = new TcpNet(pool, silentLog, null, null);
  const peers = new Set<Peer>();
  const node = (): NodeStatusReply => ({
    ...{role: 'active', node: 'm1', address: listener.address, cluster: CLUSTER, release: '0.2.0'},
    ...{term: 1, sequence: 1, how: 'alone', active: listener.address, connected: true, heardMs: 0},
    ...{copies: 0, why: '', standbys: [], whole: true, inSync: true, coordinatorAwayMs: 0},
    ...{durability: 'both', durabilityNow: 'disk', servesMs: 0},
  });
  const handlers = new Handlers<null>()
    .on(OPS.status, () => ({message: statusReply(servers, clients, systemClock.now())}))
    .on(OPS.events, ({after}) => ({message: {boot: 1, missed: 0, events: eventsAfter(after)}}))
    .on(OPS.leases, () => ({message: {leases: [], total: clients * 40}}))
    .on(OPS.locks, () => ({message: {locks: [], total: 0}}))
    .on(OPS.nodeStatus, () => ({message: node()}));
  const listener = await net.listen('127.0.0.1:0', (connection) => {
    const peer: Peer = new Peer(env, connection, {onClosed: () => peers.delete(peer)});
    peers.add(peer);
    const hello = new Handlers<null>().on(OPS.hello, () => {
      peer.serve(handlers, null);
      return {
        message: {
          ...{cluster: CLUSTER, session: 0, resumed: false, heartbeatMs: 1000},
          ...{sessionTimeoutMs: 0, boot: 1, term: 1},
        },
      };
    });
    peer.serve(hello, null);
  });
  return {
    address: listener.address,
    close: async () => {
      await listener.close();
      for (const peer of [...peers]) peer.close('done', true);
    },
  };
}

const began = Date.now();

/** One a second. */
function eventsAfter(after: number) {
  const newest = Math.floor((Date.now() - began) / 1000);
  const first = Math.max(after + 1, newest - 20);
  return Array.from({length: Math.max(0, newest - first + 1)}, (_, i) => ({
    number: first + i,
    atMs: began + (first + i) * 1000,
    level: 'info',
    event: 'session.began',
    fields: JSON.stringify({session: first + i, name: 'mount:/mnt/cpfs', address: '10.0.0.1:5'}),
  }));
}

function statusReply(count: number, clients: number, now: number): StatusReply {
  const address = (i: number) =>
    `10.${Math.floor(i / 65025)}.${Math.floor(i / 255) % 255}.${i % 255}:7401`;
  const uuid = (i: number) => (0xa0000000 + i).toString(16).padEnd(32, '0');
  const at = (i: number) => Math.round(now * (1 + (i % 7)) + 1000 * Math.sin(now / 4000 + i));
  const server = (i: number) => ({
    ...{uuid: uuid(i), address: address(i), totalBytes: 1000 * GIB, freeBytes: 500 * GIB - at(i)},
    ...{badBlocks: 0, connected: i !== 3, io: 'io_uring', domain: `host${i}`, left: 0},
    ...{recoveryRate: 0, recoveryS: 0, location: `room1/rack${i % 30}/host${i}`, givesWay: false},
  });
  const groups = Math.ceil(count / SLOTS);
  const counters = (i: number) => ({
    ...{reads: at(i), readBytes: at(i) * 4096, writes: at(i), writeBytes: at(i) * 1024},
    ...{syncs: at(i), calls: at(i) * 3, metaCalls: at(i)},
  });
  return {
    map: {
      cluster: CLUSTER,
      epoch: 9,
      fenced: [],
      groups: Array.from({length: groups}, (_, g) => ({
        id: g + 1,
        state: g === 0 ? GROUP.degraded : GROUP.ready,
        slots: Array.from({length: SLOTS}, (_, s) => ({
          state: g === 0 && s === 3 ? SLOT.away : SLOT.ready,
          server: server(g * SLOTS + s),
          ...{stale: false, since: 0, wholeAt: 0, lostAt: 0, madeAt: 0, successor: ''},
        })),
      })),
    },
    sessions: Array.from({length: clients}, (_, i) => ({
      ...{id: i + 2, name: 'mount:/mnt/cpfs', address: address(1000 + i)},
      ...{leases: 40, opens: i, idleMs: 300},
    })),
    ...{files: 1e6, boot: 1, release: '0.2.0', uptimeMs: 1e6 + now, logSequence: at(1)},
    recoveryLeft: 0,
    rootLayout: {k: 4, m: 1, unitBytes: 65536, chunkBytes: 64 * MIB, groups: [], generation: 0},
    waiting: [],
    recovery: {paused: false, rate: 100 * MIB},
    scrub: {running: 0, paused: false, bad: 0, repaired: 0, lost: 0},
    counters: [
      ...Array.from({length: groups * SLOTS}, (_, i) => ({
        ...{server: uuid(i), session: 0, counters: counters(i)},
      })),
      ...Array.from({length: clients}, (_, i) => ({
        ...{server: '', session: i + 2, counters: counters(i)},
      })),
    ],
    health: Array.from({length: groups}, (_, g) => ({
      ...{id: g + 1, kMin: 4, mMin: 1},
      awayMs: Array.from({length: SLOTS}, (_, s) => (g === 0 && s === 3 ? 60_000 : 0)),
    })),
    hot: Array.from({length: 8}, (_, i) => ({
      ...{oid: 100 + i, weight: (8 - i) * MIB, path: Buffer.from(`/films/${i}`)},
    })),
    outAfterMs: 600_000,
    wallMs: Date.now(),
    life: null,
  };
}
