import type {Look} from '../../src/roles/console/model.js';
import type {ClusterEvent} from '../../src/roles/events.js';
import type {LeaseRow, LockRow} from '../../src/roles/holdings.js';
import {counts, statusModel} from './status-model.js';

const MIB = 1024 ** 2;
const lease = (session: number, inode: number, path: string): LeaseRow => ({
  session,
  inode,
  path,
  type: 'file',
  mode: inode % 2 === 0 ? 'write' : 'read',
  ranges: 0,
  recalled: inode === 102,
});
const lock: LockRow = {
  session: 2,
  inode: 103,
  path: '/db/main',
  kind: 'posix',
  type: 'exclusive',
  start: 0,
  length: null,
  pid: 4711,
  state: 'waiting',
};

/** One look after the other at a cluster of 4+1 by hand, in which somebody reads and writes. */
export class Looks {
  readonly status;
  #second = 0;
  #events: ClusterEvent[] = [];
  #number = 0;

  constructor(groups = 1, slots = 5) {
    this.status = statusModel(groups, slots);
    this.status.hot = [
      {inode: 101, path: '/films/one', weight: 40 * MIB},
      {inode: 103, path: '/db/main', weight: 3 * MIB},
    ];
    this.status.sessions.push({
      id: 3,
      name: 'mount:/srv/data',
      address: '10.0.0.98:50000',
      leases: 12,
      opens: 4,
      idleMs: 700,
    });
  }

  happens(level: string, event: string, fields: ClusterEvent['fields']): void {
    const at = this.#at();
    this.#events.push({number: ++this.#number, at, level, event, fields});
  }

  /** The next one; `now` of its model is `at` in milliseconds. */
  next(): {look: Look; at: number} {
    const n = ++this.#second;
    const wave = (i: number): number => n * (20 + i) + Math.round(5 * Math.sin(n / 3 + i));
    this.status.at = this.#at();
    this.status.changes = 5000 + wave(0) * 3;
    this.status.counters = [
      ...this.status.servers.flatMap(({uuid, connected}, i) =>
        connected
          ? [
              {
                server: uuid,
                session: null,
                ...counts({
                  reads: wave(i),
                  readBytes: wave(i) * MIB,
                  writes: wave(i) * 2,
                  writeBytes: wave(i) * 0.5 * MIB,
                  syncs: n,
                  calls: wave(i) * 3,
                }),
              },
            ]
          : [],
      ),
      ...this.status.sessions.map(({id}) => ({
        server: null,
        session: id,
        ...counts({
          readBytes: wave(id) * MIB,
          writeBytes: wave(id) * MIB,
          calls: wave(id) * 9,
          metaCalls: wave(id) * 4,
        }),
      })),
    ];
    const leases = [101, 102, 104].map((inode) => lease(3, inode, `/films/${inode}`));
    const look = {
      status: structuredClone(this.status),
      metas: null,
      leases: {leases, total: 15},
      locks: {locks: [lock], total: 1},
      events: this.#events.splice(0),
    };
    return {look, at: n * 1000};
  }

  #at(): string {
    return new Date(Date.UTC(2026, 10, 23, 12, 0, this.#second)).toISOString();
  }
}
