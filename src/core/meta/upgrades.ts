import {FsError, Refusal} from '../base/errors.js';
import {lacking, type NodeRole, type Release, SWITCHED, THIS_RELEASE} from '../base/features.js';
import {GROUP, SLOT} from '../cluster/map.js';
import type {Env} from '../env/env.js';
import type * as wire from '../protocol/gen/wire.js';
import type {Peer} from '../transport/peer.js';
import type {Cluster} from './cluster.js';
import type {Machine} from './machine.js';

const ROLES: Readonly<Record<string, NodeRole>> = {standby: 'meta', data: 'data', client: 'client'};
const NONE: wire.UpgradeNode = {
  ...{role: '', name: '', server: '', release: '', features: []},
  ...{connected: true, place: ''},
};

/** What a new state makes use of at once. */
export const switchedBy = ({features}: Release): string[] =>
  SWITCHED.filter(({name}) => features.includes(name)).map(({name}) => name);

export interface UpgradesParts {
  machine: Machine;
  cluster: Cluster;
  /** This server, for people. */
  name(): string;
  node: string;
}

/** Which releases take part, and which features the state makes use of: those without one of them are not let in. */
export class Upgrades {
  readonly #release: Release;
  readonly #log: Env['log'];
  readonly #parts: UpgradesParts;
  readonly #nodes = new Map<Peer, wire.UpgradeNode>();

  constructor(env: Pick<Env, 'log' | 'release'>, parts: UpgradesParts) {
    this.#release = env.release ?? THIS_RELEASE;
    this.#log = env.log;
    this.#parts = parts;
  }

  /** Somebody has said hello. Throws Refusal WrongVersion: its release lacks what the state makes use of. */
  came(peer: Peer, {role: as, name, address, server}: wire.HelloRequest): void {
    const role = ROLES[as];
    if (role === undefined) return;
    const reason = this.#lacking(role, peer.release);
    if (reason !== null) throw new Refusal('WrongVersion', reason);
    // The agents of a data server are of its release.
    if (role === 'client' && server !== '') return;
    const {name: release, features} = peer.release;
    this.#nodes.set(peer, {
      ...NONE,
      ...{role, name: role === 'client' ? name : address, server, release},
      ...{features: [...features], place: role === 'meta' ? 'standby' : ''},
    });
  }

  left(peer: Peer): void {
    this.#nodes.delete(peer);
  }

  /** What the state makes use of and that role must have; null: the release has it. */
  #lacking(role: NodeRole, release: Release): string | null {
    const on = this.#on;
    const needed = SWITCHED.filter(({name, needs}) => needs.includes(role) && on.includes(name));
    return lacking(
      needed.map(({name}) => name),
      release,
    );
  }

  get #on(): readonly string[] {
    return this.#parts.machine.superblock.features;
  }

  report(): wire.UpgradeReply {
    const nodes = this.#all();
    const on = this.#on;
    const features = SWITCHED.map(({name, what, needs}) => ({
      ...{name, what, on: on.includes(name)},
      lacking: nodes
        .filter((node) => needs.includes(node.role as NodeRole) && !node.features.includes(name))
        .filter(({role, connected}) => connected || role !== 'client')
        .map((node) => `${node.role} ${node.place === '' ? node.name : node.place}`),
    }));
    return {features, nodes, ...this.#next(nodes, features)};
  }

  /** This server, its standbys, who holds a slot, other data servers, clients. */
  #all(): wire.UpgradeNode[] {
    const {name: release, features} = this.#release;
    const {name, node, cluster} = this.#parts;
    const its = {name: name(), server: node, release, features: [...features]};
    const own = {...NONE, ...its, role: 'meta', place: 'active'};
    const connected = [...this.#nodes.values()];
    const slots = cluster.control.state.groups.flatMap(({id, slots}) =>
      slots.flatMap(({member}, index) =>
        member === null ? [] : [{...member, place: `${id}.${index}`}],
      ),
    );
    const data = slots.map(({uuid, address, place}): wire.UpgradeNode => {
      const found = connected.find((one) => one.role === 'data' && one.server === uuid);
      const away = {...NONE, role: 'data', name: address, server: uuid, connected: false};
      return {...(found ?? away), place};
    });
    const spare = connected.filter(
      ({role, server}) => role === 'data' && !slots.some(({uuid}) => uuid === server),
    );
    const others = (role: NodeRole) => connected.filter((one) => one.role === role);
    return [own, ...others('meta'), ...data, ...spare, ...others('client')];
  }

  #next(
    nodes: readonly wire.UpgradeNode[],
    features: readonly wire.UpgradeFeature[],
  ): {next: string; ready: boolean} {
    const off = features.filter(({on}) => !on);
    const away = off.flatMap(({lacking}) => lacking);
    const older = this.#older(nodes, away);
    if (older !== null) return {next: older, ready: false};
    if (off.length === 0) return {next: '', ready: false};
    return {
      next: "all have the newer release: 'cpfs upgrade finalize' switches on what is new; older ones cannot be started after that",
      ready: true,
    };
  }

  /** What is to be done with nodes of older releases; null: there are none. Meta servers come first, the active one as the last of them. */
  #older(nodes: readonly wire.UpgradeNode[], away: readonly string[]): string | null {
    const all = [...new Set(nodes.flatMap(({features}) => features))];
    const newest = nodes.map(({release}) => release).reduce((a, b) => (isOlder(a, b) ? b : a));
    const older = nodes.filter(
      ({connected, features, release}) =>
        connected && (isOlder(release, newest) || all.some((name) => !features.includes(name))),
    );
    const meta = older.findLast(({role}) => role === 'meta');
    if (meta !== undefined) return restart(meta);
    const data = older.find(({role}) => role === 'data');
    const frail = this.#frail(nodes);
    if (data !== undefined)
      return frail === null
        ? restart(data)
        : `wait until group ${frail} is whole; ${restart(data)}`;
    const client = older.find(({role}) => role === 'client');
    if (client !== undefined) return `unmount ${client.name}, and mount it with the newer release`;
    const gone = nodes.find(({role, connected}) => role === 'data' && !connected);
    const first = gone === undefined ? away[0] : `data ${gone.place}`;
    return first === undefined ? null : `start the newer release of ${first}, which is away`;
  }

  /** A group that should not lose another server now. One that this server does not know to be here, as it has begun a moment ago, may be away. */
  #frail(nodes: readonly wire.UpgradeNode[]): number | null {
    const here = (uuid: string | undefined): boolean =>
      nodes.some(({server, connected}) => connected && server === uuid);
    const {groups} = this.#parts.cluster.control.liveMap();
    const members = this.#parts.cluster.control.state.groups;
    const frail = groups.find(
      ({id, state, slots}) =>
        state !== GROUP.ready ||
        slots.some((slot) => slot.state !== SLOT.ready) ||
        members.find((one) => one.id === id)!.slots.some(({member}) => !here(member?.uuid)),
    );
    return frail?.id ?? null;
  }

  /** Switches on what all have. FsError EBUSY: not all do, and nothing is switched on. */
  async finalize(): Promise<void> {
    const {features} = this.report();
    const without = features.find(({on, lacking}) => !on && lacking.length > 0);
    if (without !== undefined)
      throw new FsError(
        'EBUSY',
        `${without.lacking.join(', ')} cannot take part in ${without.name}`,
      );
    const names = features.map(({name}) => name);
    if (names.every((name) => this.#on.includes(name))) return;
    await this.#parts.machine.useFeatures(names);
    await this.#parts.machine.sync();
    this.#log.info('features.on', {features: names.join(' ')});
    // Who came meanwhile, of an older release.
    for (const [peer, {role}] of this.#nodes) {
      const reason = this.#lacking(role as NodeRole, peer.release);
      if (reason !== null) peer.close(reason);
    }
  }
}

const isOlder = (a: string, b: string): boolean => a.localeCompare(b, 'en', {numeric: true}) < 0;

const restart = ({role, name, place}: wire.UpgradeNode): string =>
  `stop the ${role} server ${name}${place === '' ? '' : ` (${place})`}, install the newer release there, and start it`;
