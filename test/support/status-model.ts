import type {Counts, Status} from '../../src/roles/admin.js';

type Slot = Status['groups'][number]['slots'][number];

const GIB = 1024 ** 3;
export const AT = '2026-11-23T12:00:00.000Z';

/** A status as a meta server would give it: groups of 4+1, all ready, a client. */
export function statusModel(groups = 1, slots = 5): Status {
  const servers = Array.from({length: groups * slots}, (_, i) => server(i, slots));
  return {
    version: 1,
    cluster: 'c0ffee',
    release: '0.2.0',
    state: 'ok',
    epoch: 9,
    scheme: '4+1',
    files: 1000,
    recoveryLeft: 0,
    outAfterSeconds: 600,
    changes: 5000,
    uptimeSeconds: 3600,
    at: AT,
    counters: [],
    phase: 'open',
    waitsFor: [],
    maintenance: null,
    hot: [],
    scrub: {paused: false, running: 0, bad: 0, repaired: 0, lost: 0},
    groups: Array.from({length: groups}, (_, g) => ({
      id: g + 1,
      state: 'ready',
      bears: 1,
      slots: Array.from({length: slots}, (_, index): Slot => {
        const {uuid, address} = servers[g * slots + index]!;
        return {
          index,
          state: 'ready',
          server: uuid,
          address,
          connected: true,
          successor: null,
          awaySeconds: null,
        };
      }),
    })),
    servers,
    recovery: {paused: false, rate: 100 * 1024 * 1024},
    waiting: [],
    sessions: [
      {
        id: 2,
        name: 'mount:/mnt/cpfs',
        address: '10.0.0.99:50000',
        leases: 3,
        opens: 1,
        idleMs: 400,
      },
    ],
  };
}

function server(i: number, slots: number): Status['servers'][number] {
  return {
    uuid: `${(0xa0000000 + i).toString(16)}000000000000000000000000`,
    address: `10.0.${Math.floor(i / 200)}.${(i % 200) + 11}:7401`,
    group: Math.floor(i / slots) + 1,
    slot: i % slots,
    connected: true,
    totalBytes: 1000 * GIB,
    freeBytes: 600 * GIB,
    usedBytes: 400 * GIB,
    badBlocks: 0,
    io: 'io_uring',
    domain: `host${i + 1}`,
    location: '',
    left: 0,
    recoveryRate: 0,
    givesWay: false,
    recoverySeconds: 0,
  };
}

/** The state of a slot and of its group, as they go together with redundancy 1. */
export function setSlot(status: Status, group: number, slot: number, change: Partial<Slot>): void {
  const found = status.groups.find(({id}) => id === group)!;
  Object.assign(found.slots[slot]!, change);
  const lacking = found.slots.filter(({state}) => state !== 'ready');
  found.bears = 1 - lacking.length;
  found.state =
    lacking.length > 1
      ? 'failed'
      : lacking.some(({state}) => state === 'away')
        ? 'degraded'
        : lacking.length > 0
          ? 'recovering'
          : 'ready';
  const states = status.groups.map(({state}) => state);
  status.state = states.includes('failed')
    ? 'failed'
    : states.every((state) => state === 'ready')
      ? 'ok'
      : 'degraded';
}

export const counts = (some: Partial<Counts> = {}): Counts => ({
  reads: 0,
  readBytes: 0,
  writes: 0,
  writeBytes: 0,
  syncs: 0,
  calls: 0,
  metaCalls: 0,
  ...some,
});
