// Goal: members of etcd are lost, also with a meta server, and its data: service goes on as long as it may, and there is one history
// (DESIGN.md 9; SEEDS.md 6.4 points 11, 14). Method: real processes: an etcd of three, two meta servers, a client that makes directories.
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {parseCoordinatorUrl} from '../../src/core/base/coordinator-url.js';
import {ROOT_OID} from '../../src/core/base/ids.js';
import {type OpenedClient, openClient} from '../../src/core/client/index.js';
import {silentLog} from '../../src/core/env/log.js';
import {FORGOTTEN} from '../../src/core/meta/election.js';
import {systemClock} from '../../src/core/os/clock.js';
import {openCoordinator} from '../../src/roles/meta/coordinator.js';
import {type MetaStatus, metaStatus, promote} from '../../src/roles/meta/nodes.js';
import {identify, type ProcessId, stopProcess} from '../../src/roles/process.js';
import {clientEnv} from '../../src/roles/real-env.js';
import {startRole} from '../../src/roles/spawn.js';
import {EtcdMembers} from '../support/etcd-members.js';

const SECONDS = 1000;
const LEASE_MS = 3 * SECONDS;
const POOL = {small: 64, medium: 8, large: 0};
const CALLER = {uid: 0, gid: 0, groups: []};

let folder: string;
let etcd: EtcdMembers;
let work: Work;
const metas: {address: string; process: ProcessId}[] = [];

/** Makes one directory after the other, and notes what it was told and when. */
class Work {
  readonly made: string[] = [];
  readonly #client: OpenedClient;
  /** When it was last told something. */
  lastAt = performance.now();
  #longestMs = 0;
  #ended = false;
  readonly #done: Promise<void>;

  constructor(client: OpenedClient) {
    this.#client = client;
    this.#done = this.#run();
  }

  async #run(): Promise<void> {
    while (!this.#ended) {
      const name = `d${this.made.length}`;
      await this.#client.mkdir(ROOT_OID, Buffer.from(name), 0o755, CALLER);
      this.made.push(name);
      this.#longestMs = Math.max(this.#longestMs, this.waitsMs);
      this.lastAt = performance.now();
      await delay(10);
    }
  }

  get waitsMs(): number {
    return performance.now() - this.lastAt;
  }

  /** The longest pause since this was last asked. */
  pauseMs(): number {
    const longest = Math.max(this.#longestMs, this.waitsMs);
    this.#longestMs = 0;
    return longest;
  }

  async served(): Promise<void> {
    const {length} = this.made;
    while (this.made.length === length) await delay(20);
  }

  async end(): Promise<void> {
    this.#ended = true;
    await this.#done;
    await this.#client.close(5 * SECONDS);
  }
}

const addresses = (): string => metas.map(({address}) => address).join(',');
const status = (): Promise<MetaStatus> => metaStatus(addresses(), SECONDS);

async function until(state: MetaStatus['state'], why = ''): Promise<MetaStatus> {
  for (const end = performance.now() + 20 * SECONDS; ; await delay(50)) {
    const now = await status();
    if (now.state === state && now.servers.every((one) => one.why.includes(why))) return now;
    if (performance.now() > end) throw new Error(`not ${state} ${why}: ${JSON.stringify(now)}`);
  }
}

async function startMeta(index: number): Promise<void> {
  const listen = metas[index]?.address ?? '127.0.0.1:0';
  const argv = ['meta', 'start', '--state', join(folder, `meta${index}`), '--listen', listen];
  argv.push('--coordinator', etcd.url);
  if (index > 0) argv.push('--join', metas[0]!.address);
  const {pid, info} = await startRole(argv, join(folder, `meta${index}.log`), 20 * SECONDS);
  metas[index] = {address: String(info.address), process: identify(pid)};
}

/** It is told where the coordinator is, and finds the active one there. */
const connect = (): Promise<OpenedClient> =>
  openClient(clientEnv(silentLog, POOL), {meta: etcd.url, name: 'work', writeback: false});

async function names(): Promise<string[]> {
  const client = await connect();
  const found: string[] = [];
  for (let after = 0; ; ) {
    const {entries} = await client.readdir(ROOT_OID, after, 1000, false);
    if (entries.length === 0) break;
    found.push(...entries.map(({name}) => Buffer.from(name).toString()));
    after = entries.at(-1)!.cookie;
  }
  await client.close(5 * SECONDS);
  return found.filter((name) => /^d\d/.test(name)).sort();
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cpfs-members-'));
  etcd = await EtcdMembers.start(folder, 3);
  await startMeta(0);
  await startMeta(1);
  await until('ok');
  work = new Work(await connect());
}, 60 * SECONDS);
afterAll(async () => {
  await Promise.all(metas.map(({process}) => stopProcess(process, 0)));
  await etcd?.stop();
  rmSync(folder, {recursive: true, force: true});
});

test('a member is stopped that is asked first: nobody notices; the leader: no longer than it takes etcd to have another', async () => {
  const {term} = await status();
  const leader = await etcd.leader();
  const other = (leader + 1) % etcd.count;
  const c = await openCoordinator(parseCoordinatorUrl(etcd.urlFrom(other)), systemClock);
  work.pauseMs();
  etcd.freeze(other);
  const began = performance.now();
  const lease = await c.grant(LEASE_MS, '/x');
  await lease.keepAlive();
  expect(performance.now() - began).toBeLessThan(SECONDS);
  await delay(LEASE_MS + SECONDS / 4);
  expect(work.pauseMs()).toBeLessThan(SECONDS);
  expect(await status()).toMatchObject({term, coordinator: {state: 'ok'}});
  etcd.thaw(other);
  etcd.freeze(leader);
  await delay(LEASE_MS + SECONDS / 4);
  etcd.thaw(leader);
  await c.close();
  await until('ok');
  await work.served();
  expect(work.pauseMs()).toBeLessThan(5 * SECONDS);
}, 60_000);

test('the leader is killed, and the active meta server after it: the other one takes over', async () => {
  const leader = await etcd.leader();
  await etcd.kill(leader);
  await delay(LEASE_MS + SECONDS / 4);
  const {active, term} = await until('ok');
  expect(work.pauseMs()).toBeLessThan(5 * SECONDS);
  const killed = metas.findIndex(({address}) => address === active);
  await stopProcess(metas[killed]!.process, 0);
  await delay(100);
  await work.served();
  expect(work.pauseMs()).toBeLessThan(5 * SECONDS);
  await Promise.all([etcd.begin(leader), startMeta(killed)]);
  expect((await until('ok')).term).toBeGreaterThan(term);
}, 60_000);

test('two members are killed: the active meta server serves until its lease may be over, and again when one is back', async () => {
  work.pauseMs();
  // What is left is a leader, which does not know yet that it is none.
  const leader = await etcd.leader();
  const others = [0, 1, 2].filter((member) => member !== leader);
  await Promise.all(others.map((member) => etcd.kill(member)));
  const began = performance.now();
  await delay(LEASE_MS / 2);
  expect(work.waitsMs).toBeLessThan(SECONDS);
  const going = (await status()).coordinator!;
  expect(going.state).not.toBe('ok');
  expect([going.servesMs > 0, going.servesMs < (2 / 3) * LEASE_MS]).toEqual([true, true]);
  const gone = await until('down', 'etcd does not answer');
  expect(gone.coordinator).toMatchObject({state: 'away', servesMs: 0});
  const since = Date.now() - Date.parse(gone.coordinator!.since!);
  expect(Math.abs(since - (performance.now() - began))).toBeLessThan(SECONDS);
  expect(work.lastAt - began).toBeLessThan(LEASE_MS);
  const {length} = work.made;
  await delay(SECONDS);
  expect(work.made).toHaveLength(length);
  await etcd.begin(others[0]!);
  await work.served();
  await etcd.begin(others[1]!);
  const {coordinator} = await until('ok');
  expect(coordinator).toEqual({state: 'ok', since: null, awayMs: 0, servesMs: expect.any(Number)});
}, 60_000);

test('its data is wiped: nobody begins another history, until an administrator says who has what was', async () => {
  const {active, term} = await until('ok');
  await etcd.wipe();
  await until('down', FORGOTTEN);
  const {length} = work.made;
  await delay(SECONDS);
  expect((await status()).active).toBeNull();
  expect(work.made).toHaveLength(length);
  await promote(active!, 5 * SECONDS);
  await work.served();
  expect((await until('ok')).term).toBeGreaterThan(term + 999);
  await work.end();
  expect(await names()).toEqual([...work.made].sort());
}, 60_000);
