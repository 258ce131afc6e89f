import {ClusterControl} from '../../src/core/cluster/control.js';
import {CLUSTER_TIMING, type ClusterEffect} from '../../src/core/cluster/control-api.js';
import type {Seating} from '../../src/core/cluster/seating.js';
import {decodeState, encodeState} from '../../src/core/cluster/state.js';

export const OUT_AFTER = 10_000;

/** A control whose servers obey at once. */
export class ControlWorld {
  now = 10_000;
  control: ClusterControl;
  readonly alive = new Set<string>();
  /** They do not obey. */
  readonly deaf = new Set<string>();
  /** Transitions of groups. */
  readonly took: string[] = [];
  readonly #incarnations = new Map<string, number>();
  readonly #options: {k: number; m: number; anyDomain: boolean};

  constructor(options: Partial<{k: number; m: number; anyDomain: boolean}> = {}) {
    this.#options = {k: 4, m: 1, anyDomain: false, ...options};
    const state = {cluster: 'c', epoch: 1, groups: [], pool: [], fenced: [], retired: []};
    this.control = this.#boot(encodeState(state));
  }

  #boot(saved: Uint8Array): ClusterControl {
    const {k, m, anyDomain} = this.#options;
    return new ClusterControl(
      decodeState(saved, this.now),
      {
        groupSize: k + m,
        kDefault: k,
        columnsDefault: k + m,
        anyDomain,
        now: this.now,
        firstIncarnation: this.now,
      },
      {...CLUSTER_TIMING, outAfterMs: OUT_AFTER},
    );
  }

  /** The meta server is killed and started; everybody registers again. */
  restart(): void {
    this.control = this.#boot(encodeState(this.control.state));
    for (const uuid of this.alive) this.#incarnations.delete(uuid);
  }

  run(effects: readonly ClusterEffect[]): void {
    for (const e of effects) {
      if (e.do === 'persist') this.run(this.control.persisted(e.epoch, this.now));
      else if (e.do === 'log' && e.event.startsWith('group.') && e.from !== undefined)
        this.took.push(`${e.from} ${e.event.slice('group.'.length)}`);
      else if (e.do === 'push' && !this.deaf.has(e.uuid)) this.hear(e.uuid);
    }
  }

  hear(uuid: string): void {
    this.run(this.control.acked(uuid, this.control.epoch, this.now));
  }

  start(uuid: string, group: number, options: {domain?: string; auto?: boolean} = {}): string {
    const {domain = uuid, auto = false} = options;
    const answer = this.control.register(
      {
        uuid,
        group,
        address: uuid,
        domain,
        location: '',
        auto,
        incarnation: 0,
        life: 1,
        askedAt: this.now,
      },
      this.now,
    );
    if (answer.is !== 'accepted') return `${answer.is}: ${answer.why}`;
    this.alive.add(uuid);
    this.#incarnations.set(uuid, answer.incarnation);
    this.run(answer.effects);
    return answer.is;
  }

  stop(uuid: string): void {
    this.alive.delete(uuid);
    this.run(this.control.closed(uuid, this.#incarnations.get(uuid) ?? -1, this.now));
  }

  pass(ms: number): void {
    for (const end = this.now + ms; this.now < end; ) {
      this.now += 100;
      for (const uuid of this.alive) {
        const figures = {totalBytes: 10, freeBytes: 5, badBlocks: 0, recoveryLeft: 0, doubts: 0};
        const beat = {epoch: 1, doneResync: 9, ...figures};
        this.run(this.control.heartbeat(uuid, beat, this.now).effects);
      }
      this.run(this.control.tick(this.now));
    }
  }

  recovered(uuid: string): boolean {
    const {agreed, effects} = this.control.recovered(uuid, this.control.epoch, this.now);
    this.run(effects);
    return agreed;
  }

  admin<T>(change: (seating: Seating) => T): T {
    const {result, effects} = this.control.administer(change, this.now);
    this.run(effects);
    return result;
  }

  replace(group: number, slot: number, uuid: string, sure: boolean): void {
    this.admin((seating) => seating.replace(group, slot, uuid, sure));
  }

  /** Who is in the slots of a group; * recovering, ! away, - empty. */
  seats(group = 1): string {
    const {slots} = this.control.state.groups.find(({id}) => id === group)!;
    return slots
      .map(({state, member}) => `${member?.uuid ?? ''}${'- !*'[state]!.trim()}`)
      .join(' ');
  }

  get waiting(): string[] {
    return this.control.state.pool.map(({uuid}) => uuid);
  }

  group(...uuids: string[]): this {
    for (const uuid of uuids) {
      const answer = this.start(uuid, 1);
      if (answer !== 'accepted') throw new Error(`${uuid}: ${answer}`);
    }
    return this;
  }
}
