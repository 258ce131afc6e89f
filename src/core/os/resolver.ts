import {promises as dns, type LookupAddress, type SrvRecord} from 'node:dns';
import {formatAddress} from '../base/address.js';
import {
  activeKey,
  addressesOf,
  decodeActive,
  decodeStanding,
  standingKey,
} from '../base/coordinator-keys.js';
import type {CoordinatorUrl} from '../base/coordinator-url.js';
import {Lost, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {type MetaName, parseMetaNames} from '../base/meta-names.js';
import type {Clock} from '../env/clock.js';
import type {Coordinator} from '../env/coordinator.js';
import type {Resolver} from '../env/net.js';

/** A process has several connections to the meta server, which look at the same time. */
const FRESH_MS: Ms = 500;
const DNS_MS: Ms = 1_000;
const DNS_TRIES = 2;

export interface Sources {
  /** Addresses of a host. */
  host(name: string): Promise<LookupAddress[]>;
  service(name: string): Promise<SrvRecord[]>;
  coordinator(url: CoordinatorUrl): Promise<Coordinator>;
}

/** `server`: host:port of a DNS server; else as the machine is set up at the time of the question. */
export async function askService(name: string, server?: string): Promise<SrvRecord[]> {
  const resolver = new dns.Resolver({timeout: DNS_MS, tries: DNS_TRIES});
  if (server !== undefined) resolver.setServers([server]);
  return resolver.resolveSrv(name);
}

/** Those of this machine, and an etcd. */
const system = (clock: Clock): Sources => ({
  host: (name) => dns.lookup(name, {all: true}),
  service: (name) => askService(name),
  // Loaded where it is used: it is large, and most clusters are named by addresses.
  coordinator: async (url) => (await import('./coordinator-etcd.js')).openEtcd(url, clock),
});

/** Finds meta servers by DNS, or as their coordinator knows them. */
export class SystemResolver implements Resolver {
  readonly #clock: Clock;
  readonly #sources: Sources;
  readonly #recent = new Map<string, {at: Ms; found: Promise<string[]>}>();

  constructor(clock: Clock, sources: Sources = system(clock)) {
    this.#clock = clock;
    this.#sources = sources;
  }

  resolve(names: string): Promise<string[]> | null {
    const all = parseMetaNames(names);
    if (all.every(({kind}) => kind === 'address')) return null;
    const now = this.#clock.now();
    for (const [key, {at}] of this.#recent) if (now - at > FRESH_MS) this.#recent.delete(key);
    const recent = this.#recent.get(names);
    if (recent !== undefined) return recent.found;
    const found = this.#all(all);
    this.#recent.set(names, {at: now, found});
    return found;
  }

  /** What is found of them; fails where nothing is. */
  async #all(names: readonly MetaName[]): Promise<string[]> {
    const tried = await Promise.allSettled(names.map((name) => this.#one(name)));
    const found = tried.flatMap((one) => (one.status === 'fulfilled' ? one.value : []));
    if (found.length > 0) return [...new Set(found)];
    const failed = tried.find((one) => one.status === 'rejected');
    throw new Lost(failed === undefined ? 'nobody has that name' : messageOf(failed.reason));
  }

  async #one(name: MetaName): Promise<string[]> {
    switch (name.kind) {
      case 'address':
        return [name.address];
      case 'host':
        return (await this.#sources.host(name.host)).map(({address}) =>
          formatAddress(address, name.port),
        );
      case 'service':
        return this.#service(name.service);
      case 'coordinator':
        return this.#coordinator(name.url);
    }
  }

  async #service(service: string): Promise<string[]> {
    const targets = await this.#sources.service(service);
    const inOrder = targets.sort((a, b) => a.priority - b.priority || b.weight - a.weight);
    return this.#all(inOrder.map(({name: host, port}) => ({kind: 'host', host, port})));
  }

  async #coordinator(url: CoordinatorUrl): Promise<string[]> {
    const coordinator = await this.#sources.coordinator(url);
    try {
      const keys = [activeKey(url.prefix), standingKey(url.prefix)];
      const [active, standing] = await Promise.all(keys.map((key) => coordinator.get(key)));
      const found = addressesOf(decodeActive(active!), decodeStanding(standing!));
      if (found.length === 0) throw new Lost(`etcd knows of no meta server under ${url.prefix}`);
      return found;
    } finally {
      await coordinator.close();
    }
  }
}
