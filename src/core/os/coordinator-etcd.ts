import {readFileSync} from 'node:fs';
import {ConstantBackoff, noop} from 'cockatiel';
import {
  Etcd3,
  EtcdAuthenticationFailedError,
  EtcdLeaseInvalidError,
  EtcdPermissionDeniedError,
  GRPCUnauthenticatedError,
  type IOptions,
  type Watcher,
} from 'etcd3';
import type {CoordinatorUrl} from '../base/coordinator-url.js';
import {FsError, Lost, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Clock, Timer} from '../env/clock.js';
import type {
  Compare,
  Coordinator,
  CoordinatorLease,
  CoordinatorPut,
  Looked,
  Versioned,
} from '../env/coordinator.js';

/** All tries of a call together. */
const CALL_MS: Ms = 2_000;
/** One member's. */
const TRY_MS: Ms = 600;
/**
 * What does no harm twice is asked of the next member after this, beside the first one: a member that is stopped, or follows a leader that is,
 * says nothing, and a lease does not wait for it.
 */
const HEDGE_MS: Ms = 150;
/** Each member says at once that it cannot: nobody is asked more often than this. */
const AT_ONCE_ROUNDS = 2;
const WATCH_AGAIN_MS: Ms = 200;

export interface EtcdAccess {
  tls: boolean;
  /** host:port of each member. */
  endpoints: readonly string[];
  ca: Buffer | undefined;
  cert: Buffer | undefined;
  key: Buffer | undefined;
  login: {user: string; password: string} | undefined;
}

/** A client of it. Nobody is asked yet. FsError EINVAL: one of its files cannot be read. */
export function openEtcd(url: CoordinatorUrl, clock: Clock): EtcdCoordinator {
  const read = (path: string | undefined): Buffer | undefined => {
    if (path === undefined) return undefined;
    try {
      return readFileSync(path);
    } catch (error) {
      throw new FsError('EINVAL', `cannot read ${path}: ${messageOf(error)}`);
    }
  };
  const {tls, endpoints, caFile, certFile, keyFile, user, passwordFile} = url;
  const [ca, cert, key] = [read(caFile), read(certFile), read(keyFile)];
  const password = read(passwordFile)?.toString('utf8').trimEnd();
  const login = user === undefined ? undefined : {user, password: password!};
  return new EtcdCoordinator({tls, endpoints, ca, cert, key, login}, clock);
}

/** A call that nobody heard may have been carried out: only what does no harm twice is tried again. */
type Twice = 'twice' | 'once';

type Run<T> = (client: Etcd3, options: {deadline: number}) => Promise<T>;

/**
 * etcd 3.4 and later as the coordinator, through `etcd3`. One client for each member, and all calls to the one that answered last: the
 * client's own pool draws a member for each call, of which those that are stopped cost a deadline each time. Watches are kept with all of
 * them, since one that is stopped tells nothing.
 */
export class EtcdCoordinator implements Coordinator {
  readonly #clock: Clock;
  readonly #clients: readonly Etcd3[];
  readonly #watchers = new Set<Watcher>();
  /** The one that answered last. */
  #at = 0;

  constructor(access: EtcdAccess, clock: Clock) {
    this.#clock = clock;
    this.#clients = access.endpoints.map((endpoint) => new Etcd3(optionsOf(access, endpoint)));
  }

  async get(key: string): Promise<Versioned | null> {
    return (await this.look(key)).found;
  }

  async look(key: string): Promise<Looked> {
    const {kvs, header} = await this.#call('twice', ({kv}, options) =>
      kv.range({key: Buffer.from(key)}, options),
    );
    const era = header.raft_term;
    const first = kvs[0];
    if (first === undefined) return {found: null, era};
    const {value, mod_revision, create_revision} = first;
    const [revision, created] = [Number(mod_revision), Number(create_revision)];
    return {found: {value, revision, created}, era};
  }

  async commit(
    compare: readonly Compare[],
    puts: readonly CoordinatorPut[],
    deletes: readonly string[] = [],
  ): Promise<number | null> {
    const request = {
      compare: compare.map(compared),
      success: [
        ...puts.map(({key, value, lease}) => ({
          request_put: {
            key: Buffer.from(key),
            value: Buffer.from(value),
            ...(lease === undefined ? {} : {lease: lease.id}),
          },
        })),
        ...deletes.map((key) => ({request_delete_range: {key: Buffer.from(key)}})),
      ],
      failure: [],
    };
    const {succeeded, header} = await this.#call('once', ({kv}, options) =>
      kv.txn(request, options),
    );
    return succeeded ? Number(header.revision) : null;
  }

  async grant(ttlMs: Ms, key: string): Promise<CoordinatorLease> {
    // One of which nobody heard ends by itself.
    const request = {TTL: String(Math.ceil(ttlMs / 1000))};
    const {result, era} = await this.#call('twice', (client, options) =>
      inOneEra(client, key, options, () => client.leaseClient.leaseGrant(request, options)),
    );
    const {ID: id, TTL: ttl} = result;
    return {
      id,
      ttlMs: Number(ttl) * 1000,
      era,
      keepAlive: async () => {
        const renewed = await this.#call('twice', (client, options) =>
          inOneEra(client, key, options, () => keepAlive(client, id, options)),
        );
        if (renewed.era !== era) throw new FsError('ESTALE', 'etcd has another leader');
        return renewed.result;
      },
      revoke: async () => {
        const end = this.#call('twice', ({leaseClient}, options) =>
          leaseClient.leaseRevoke({ID: id}, options),
        );
        await end.catch((error: unknown) => {
          if (!(error instanceof FsError && error.errno === 'ENOENT')) throw error;
        });
      },
    };
  }

  watch(prefix: string, changed: (key: string, value: Versioned | null) => void): {close(): void} {
    const ends = this.#clients.map((client) => this.#watchAt(client, prefix, changed));
    return {
      close: () => {
        for (const end of ends) end();
      },
    };
  }

  #watchAt(
    client: Etcd3,
    prefix: string,
    changed: (key: string, value: Versioned | null) => void,
  ): () => void {
    let watcher: Watcher | null = null;
    let closed = false;
    client
      .watch()
      .prefix(prefix)
      .create()
      .then(
        (created) => {
          watcher = created;
          this.#watchers.add(created);
          created.on('put', ({key, value, mod_revision, create_revision}) =>
            changed(key.toString(), {
              value,
              revision: Number(mod_revision),
              created: Number(create_revision),
            }),
          );
          created.on('delete', ({key}) => changed(key.toString(), null));
          if (closed) this.#unwatch(created);
        },
        // It is tried again by the client itself.
        () => {},
      );
    return () => {
      closed = true;
      if (watcher !== null) this.#unwatch(watcher);
    };
  }

  #unwatch(watcher: Watcher): void {
    this.#watchers.delete(watcher);
    watcher.cancel().catch(() => {});
  }

  close(): Promise<void> {
    for (const watcher of this.#watchers) this.#unwatch(watcher);
    for (const client of this.#clients) client.close();
    return Promise.resolve();
  }

  #call<T>(twice: Twice, run: Run<T>): Promise<T> {
    return twice === 'once' ? this.#once(run) : this.#hedged(run);
  }

  /** What gRPC knows as a deadline is a time of day. */
  #try<T>(at: number, run: Run<T>, patienceMs: Ms): Promise<T> {
    return run(this.#clients[at]!, {deadline: Date.now() + patienceMs});
  }

  async #once<T>(run: Run<T>): Promise<T> {
    const at = this.#at;
    try {
      return await this.#try(at, run, TRY_MS);
    } catch (error) {
      const told = definite(error);
      if (told !== null) throw told;
      if (this.#at === at) this.#at = (at + 1) % this.#clients.length;
      throw lost(error);
    }
  }

  /** The first member that answers counts, and is asked first from then on. At most four tries are under way. */
  #hedged<T>(run: Run<T>): Promise<T> {
    const end = this.#clock.now() + CALL_MS;
    return new Promise((resolve, reject) => {
      let at = this.#at;
      let [tries, open, over] = [0, 0, false];
      let timer: Timer | null = null;
      const finish = (act: () => void): void => {
        if (over) return;
        over = true;
        timer?.cancel();
        act();
      };
      const failed = (error: unknown): void => {
        open--;
        if (over) return;
        const told = definite(error);
        if (told !== null) finish(() => reject(told));
        else if (this.#clock.now() >= end && open === 0) finish(() => reject(lost(error)));
        else if (tries < AT_ONCE_ROUNDS * this.#clients.length) next();
      };
      const next = (): void => {
        timer?.cancel();
        const left = end - this.#clock.now();
        if (left > 0) {
          const member = at;
          at = (at + 1) % this.#clients.length;
          tries++;
          open++;
          this.#try(member, run, Math.min(left, TRY_MS)).then((value) => {
            finish(() => {
              this.#at = member;
              resolve(value);
            });
          }, failed);
        } else if (open === 0 || left < -TRY_MS) finish(() => reject(lost('DEADLINE_EXCEEDED')));
        if (!over) timer = this.#clock.timer(HEDGE_MS, next);
      };
      next();
    });
  }
}

/** What gRPC says of it is of addresses and milliseconds. */
function lost(error: unknown): Lost {
  const why = messageOf(error);
  const code = /^\d+ ([A-Z_]+)/.exec(why)?.[1] ?? why;
  return new Lost(`etcd does not answer, or too few of its members are there (${code})`);
}

function optionsOf({tls, ca, cert, key, login}: EtcdAccess, endpoint: string): IOptions {
  const credentials = {
    // Node's own list where none is named.
    rootCertificate: (ca ?? null) as Buffer,
    ...(key === undefined ? {} : {privateKey: key}),
    ...(cert === undefined ? {} : {certChain: cert}),
  };
  return {
    hosts: `${tls ? 'https' : 'http'}://${endpoint}`,
    ...(tls ? {credentials} : {}),
    ...(login === undefined ? {} : {auth: {username: login.user, password: login.password}}),
    defaultCallOptions: ({isStream}) => (isStream ? {} : {deadline: Date.now() + TRY_MS}),
    dialTimeout: TRY_MS,
    faultHandling: {
      host: () => noop,
      global: noop,
      watchBackoff: new ConstantBackoff(WATCH_AGAIN_MS).next(),
    },
    // A member that was away is tried again at once, not after gRPC's two minutes.
    grpcOptions: {
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 500,
    },
  };
}

/**
 * Grants and renews so that it is certain who leads. A leader that has lost its quorum goes on renewing until it notices, and another one counts
 * from its own election on: so a renewal counts only if the member was in one term of Raft before and after it, and its leader had its quorum
 * then, as each read finds out. And one that was stopped revokes, when it goes on, whatever it thinks to be over: so the era tells which leases it
 * may know (both seen with etcd 3.4.23; etcd-io/etcd issue 15247).
 */
async function inOneEra<T>(
  client: Etcd3,
  key: string,
  options: {deadline: number},
  run: () => Promise<T>,
): Promise<{result: T; era: string}> {
  const term = async (): Promise<string> =>
    (await client.kv.range({key: Buffer.from(key), keys_only: true}, options)).header.raft_term;
  const era = await term();
  const result = await run();
  if ((await term()) !== era) throw new Error('another leader');
  return {result, era};
}

const compared = (compare: Compare) => ({
  key: Buffer.from(compare.key),
  result: 'Equal' as const,
  ...('revision' in compare
    ? {target: 'Mod' as const, mod_revision: String(compare.revision)}
    : {target: 'Create' as const, create_revision: String(compare.created)}),
});

/** One renewal: how long the lease lasts from when it was asked for. */
async function keepAlive(
  {leaseClient}: Etcd3,
  id: string,
  options: {deadline: number},
): Promise<number> {
  const stream = await leaseClient.leaseKeepAlive(options);
  return new Promise<number>((resolve, reject) => {
    stream.on('error', reject);
    stream.on('end', () => reject(new Error('the stream ended')));
    stream.on('data', ({TTL: ttl}) => {
      stream.end();
      if (Number(ttl) > 0) resolve(Number(ttl) * 1000);
      else reject(new FsError('ENOENT', `lease ${id}`));
    });
    stream.write({ID: id});
  });
}

/** What etcd has said, and would say again; null: it may be another tale the next time. */
function definite(error: unknown): FsError | null {
  if (error instanceof FsError) return error;
  if (error instanceof EtcdLeaseInvalidError) return new FsError('ENOENT', messageOf(error));
  const denied =
    error instanceof EtcdAuthenticationFailedError ||
    error instanceof EtcdPermissionDeniedError ||
    error instanceof GRPCUnauthenticatedError;
  return denied ? new FsError('EACCES', `etcd: ${messageOf(error)}`) : null;
}
