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
import {FsError, Lost, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Clock} from '../env/clock.js';
import type {
  Compare,
  Coordinator,
  CoordinatorLease,
  CoordinatorPut,
  Versioned,
} from '../env/coordinator.js';

/** All tries of a call together. */
const CALL_MS: Ms = 2_000;
/** A member that has not answered by then is left for the next one. */
const TRY_MS: Ms = 600;
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

/** A call that nobody heard may have been carried out: only what does no harm twice is tried again. */
type Twice = 'twice' | 'once';

/**
 * etcd 3.4 and later as the coordinator, through `etcd3`. One client for each member, and all calls to the one that answered last: the
 * client's own pool draws a member for each call, of which those that are stopped cost a deadline each time.
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
    const {kvs} = await this.#call('twice', ({kv}, options) =>
      kv.range({key: Buffer.from(key)}, options),
    );
    const found = kvs[0];
    if (found === undefined) return null;
    return {value: found.value, revision: Number(found.mod_revision)};
  }

  async commit(
    compare: readonly Compare[],
    puts: readonly CoordinatorPut[],
    deletes: readonly string[] = [],
  ): Promise<number | null> {
    const request = {
      compare: compare.map(({key, revision}) => ({
        key: Buffer.from(key),
        target: 'Mod' as const,
        result: 'Equal' as const,
        mod_revision: String(revision),
      })),
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

  async grant(ttlMs: Ms): Promise<CoordinatorLease> {
    // One of which nobody heard ends by itself.
    const {ID: id, TTL: ttl} = await this.#call('twice', ({leaseClient}, options) =>
      leaseClient.leaseGrant({TTL: String(Math.ceil(ttlMs / 1000))}, options),
    );
    return {
      id,
      ttlMs: Number(ttl) * 1000,
      keepAlive: () => this.#call('twice', (client, options) => renew(client, id, options)),
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

  /** Hears nothing from a member that was stopped: who needs to know asks from time to time. */
  watch(prefix: string, changed: (key: string, value: Versioned | null) => void): {close(): void} {
    let watcher: Watcher | null = null;
    let closed = false;
    this.#clients[this.#at]!.watch()
      .prefix(prefix)
      .create()
      .then(
        (created) => {
          watcher = created;
          this.#watchers.add(created);
          created.on('put', ({key, value, mod_revision}) =>
            changed(key.toString(), {value, revision: Number(mod_revision)}),
          );
          created.on('delete', ({key}) => changed(key.toString(), null));
          if (closed) this.#unwatch(created);
        },
        // It is tried again by the client itself.
        () => {},
      );
    return {
      close: () => {
        closed = true;
        if (watcher !== null) this.#unwatch(watcher);
      },
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

  async #call<T>(
    twice: Twice,
    run: (client: Etcd3, options: {deadline: number}) => Promise<T>,
  ): Promise<T> {
    const end = this.#clock.now() + CALL_MS;
    for (let tries = 1; ; tries++) {
      const at = this.#at;
      const left = end - this.#clock.now();
      const patience = Math.min(left, TRY_MS);
      try {
        // What gRPC knows as a deadline is a time of day.
        return await run(this.#clients[at]!, {deadline: Date.now() + patience});
      } catch (error) {
        const told = definite(error);
        if (told !== null) throw told;
        if (this.#at === at) this.#at = (at + 1) % this.#clients.length;
        const over = this.#clock.now() >= end || tries >= 2 * this.#clients.length;
        if (twice === 'once' || over) throw new Lost(`etcd: ${messageOf(error)}`, true);
      }
    }
  }
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

/** One renewal: how long the lease lasts from when it was asked for. */
async function renew(
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
