import {FsError, Refusal} from '../base/errors.js';
import {MAINTENANCE_MS_MAX} from '../cluster/life.js';
import {serverInfo} from '../cluster/state.js';
import {WRITE} from '../lease/lease-object.js';
import type * as wire from '../protocol/gen/wire.js';
import {toServer} from './map-wire.js';
import type {Parts} from './parts.js';

/** Of names in one answer. */
const NAMES_MAX = 100;
const SERVERS_MAX = 1024;
const WHY_CHARS_MAX = 200;

/** open: it serves; flushing: clients give back what they may write; closed: its servers may stop; held: they have not all come back yet. */
export type Phase = 'open' | 'flushing' | 'closed' | 'held';

/**
 * The cluster as a whole stops and begins again, and servers are taken away for a while, as an administrator says.
 *
 * To close: nobody gets a lease for writing any more, and who has one gives it back with what he has written, or is fenced. Then nothing is under way
 * on data servers, and that they leave means nothing. Clients stay, and wait as for any cluster that does not answer.
 */
export class Life {
  readonly #parts: () => Parts;
  #flushing = false;
  /** Why the last attempt to close came to nothing. */
  #failed: unknown = null;

  constructor(parts: () => Parts) {
    this.#parts = parts;
  }

  get phase(): Phase {
    const {control} = this.#parts().cluster;
    if (this.#flushing) return 'flushing';
    if (control.state.closed !== true) return 'open';
    return control.heldUntil === null ? 'closed' : 'held';
  }

  /** Carries out what is asked for, and says how it is. EBUSY: it is being closed; EINVAL. */
  async answer(q: wire.LifeRequest): Promise<wire.LifeReply> {
    const {cluster, env} = this.#parts();
    if (q.begin !== null) {
      const {servers, forMs, why} = this.#checked(q.begin);
      const beganMs = Math.max(0, Math.round(env.clock.wall()));
      await cluster.changeMaintenance({servers, forMs, beganMs, why}, why);
    }
    if (q.end) await cluster.changeMaintenance(null, 'as an administrator asked');
    if (q.open) await this.#open();
    if (q.close) this.#close();
    if (this.#failed !== null) {
      const failed = this.#failed;
      this.#failed = null;
      throw failed;
    }
    return this.report();
  }

  report(): wire.LifeReply {
    const {cluster, env, leases, sessions} = this.#parts();
    const {control} = cluster;
    const holders = new Set<number>();
    let writes = 0;
    for (const {session, mode} of leases.table.all()) {
      if (mode !== WRITE || session.id <= 0) continue;
      writes++;
      holders.add(session.id);
    }
    const named = [...holders].slice(0, NAMES_MAX).map((id) => ({
      session: id,
      name: sessions.get(id)?.name ?? '',
      address: sessions.get(id)?.address ?? '',
    }));
    const until = control.heldUntil;
    const all = [
      ...control.state.groups.flatMap(({slots}) => slots.map(({member}) => member)),
      ...control.state.pool,
    ];
    return {
      phase: this.phase,
      writes,
      holders: named,
      missing: until === null ? [] : control.missing.map((one) => toServer(serverInfo(one))),
      connected: all.filter((member) => member?.connected === true).length,
      opensMs: until === null ? 0 : Math.max(0, Math.round(until - env.clock.now())),
      maintenance: this.#maintenance(),
    };
  }

  #maintenance(): wire.Maintenance | null {
    const found = this.#parts().cluster.maintenance;
    if (found === null) return null;
    const {servers, forMs, why} = found.order;
    return {servers, forMs, why, leftMs: Math.max(0, Math.round(found.leftMs))};
  }

  #checked({servers, forMs, why}: wire.Maintenance): {
    servers: string[];
    forMs: number;
    why: string;
  } {
    if (servers.length > SERVERS_MAX || why.length > WHY_CHARS_MAX || forMs <= 0)
      throw new FsError('EINVAL', 'maintenance');
    const {groups} = this.#parts().cluster.control.state;
    const known = new Set(groups.flatMap(({slots}) => slots.map(({member}) => member?.uuid)));
    const unknown = servers.find((uuid) => !known.has(uuid));
    if (unknown !== undefined) throw new FsError('ENOENT', `no slot has the server ${unknown}`);
    return {servers, forMs: Math.min(forMs, MAINTENANCE_MS_MAX), why};
  }

  async #open(): Promise<void> {
    if (this.#flushing) throw new FsError('EBUSY', 'it is being closed');
    this.#parts().leases.resume();
    await this.#parts().cluster.open();
  }

  #close(): void {
    if (this.phase !== 'open') return;
    this.#flushing = true;
    this.#flush().then(
      () => {
        this.#flushing = false;
      },
      (error: unknown) => {
        this.#flushing = false;
        this.#parts().leases.resume();
        this.#failed = error;
      },
    );
  }

  async #flush(): Promise<void> {
    const {cluster, env, leases} = this.#parts();
    env.log.info('cluster.closing', {writes: this.report().writes});
    await leases.quiesce();
    // A lease for writing that is there now was given by mistake.
    if (this.report().writes > 0)
      throw new Refusal('Busy', 'clients still hold leases for writing');
    await cluster.closeDown();
  }
}
