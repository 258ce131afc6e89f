import * as net from 'node:net';
import {formatAddress, parseAddress} from '../base/address.js';
import {FsError, Lost, messageOf, Unproved} from '../base/errors.js';
import type {BufferPool} from '../base/pool.js';
import {type Log, silentLog} from '../env/log.js';
import type {Connection, Listener, Net, Resolver} from '../env/net.js';
import {FrameSeal} from './frame-seal.js';
import {
  type ReadingHandle,
  type Secured,
  type Security,
  secureAccepted,
  secureDialled,
} from './handshake.js';
import {type NetStats, TcpConnection, type TcpShared, tcpShared} from './tcp-connection.js';

/** Options of net.Socket that its types do not know: an accepted handle may be given. */
type SocketOptions = net.SocketConstructorOpts & {handle?: unknown};

/** So many may be about to prove who they are. */
const UNPROVED_MAX = 256;
/** A frame that has begun is here within so long, or the connection ends: what it holds of the pool is others' then. */
const FRAME_MS = 30_000;
const LOOKS = 4;

/** Frames over TCP. Payload is received into `pool` and sent from it. */
export class TcpNet implements Net {
  readonly #shared: TcpShared;
  readonly #log: Log;
  readonly #resolver: Resolver | null;

  readonly #security: Security | null;
  /** Accepted connections that have not proved anything yet, the oldest first, and where they come from. */
  readonly #unproved = new Map<net.Socket, string>();
  /** Those that are looked after: see FRAME_MS. */
  readonly #open = new Set<TcpConnection>();
  #looking: NodeJS.Timeout | null = null;
  readonly #frameMs: number;

  /** Without a resolver all names are dialled as they are. Without security nobody proves anything. */
  constructor(
    pool: BufferPool,
    log: Log = silentLog,
    resolver: Resolver | null = null,
    security: Security | null = null,
    frameMs = FRAME_MS,
  ) {
    this.#shared = tcpShared(pool);
    this.#log = log;
    this.#resolver = resolver;
    this.#security = security;
    this.#frameMs = frameMs;
  }

  /** Ends connections that have begun a frame and do not go on with it. */
  #watch(connection: TcpConnection): TcpConnection {
    this.#open.add(connection);
    this.#looking ??= setInterval(() => {
      for (const one of this.#open) if (one.looked(LOOKS)) this.#open.delete(one);
      if (this.#open.size > 0) return;
      clearInterval(this.#looking!);
      this.#looking = null;
    }, this.#frameMs / LOOKS).unref();
    return connection;
  }

  resolve(names: string): Promise<string[]> | null {
    return this.#resolver?.resolve(names) ?? null;
  }

  get stats(): Readonly<NetStats> {
    return this.#shared.stats;
  }

  connect(address: string, timeoutMs: number): Promise<Connection> {
    const target = parseAddress(address);
    if (target === null)
      return Promise.reject(new FsError('EINVAL', `${address} is not host:port`));
    const security = this.#security;
    if (security !== null) return this.#connectSecure(target, address, timeoutMs, security);
    return new Promise((resolve, reject) => {
      const connection = this.#watch(new TcpConnection(this.#shared, address));
      const socket = new net.Socket({onread: connection.onread, noDelay: true} as SocketOptions);
      const fail = (detail: string) => {
        clearTimeout(timer);
        socket.destroy();
        connection.close(detail);
        reject(new Lost(`${address}: ${detail}`));
      };
      const timer = setTimeout(() => fail(`not connected in ${timeoutMs} ms`), timeoutMs);
      const failed = (error: Error) => fail(messageOf(error));
      socket.once('error', failed);
      socket.once('connect', () => {
        clearTimeout(timer);
        socket.off('error', failed);
        connection.attach(socket);
        resolve(connection);
      });
      socket.connect(target);
    });
  }

  async #connectSecure(
    target: {host: string; port: number},
    address: string,
    timeoutMs: number,
    security: Security,
  ): Promise<Connection> {
    const socket = await this.#dial(target, timeoutMs).catch((error: unknown) => {
      throw new Lost(`${address}: ${messageOf(error)}`);
    });
    try {
      return this.#over(socket, await secureDialled(socket, security), address);
    } catch (error) {
      socket.destroy();
      throw new Unproved(`${address}: ${messageOf(error)}`);
    }
  }

  #dial(target: {host: string; port: number}, timeoutMs: number): Promise<net.Socket> {
    const socket = new net.Socket();
    socket.setNoDelay(true);
    return new Promise((resolve, reject) => {
      const failed = (error: Error): void => {
        clearTimeout(timer);
        socket.destroy();
        reject(error);
      };
      const timer = setTimeout(
        () => failed(new Error(`not connected in ${timeoutMs} ms`)),
        timeoutMs,
      );
      socket.once('error', failed);
      socket.connect(target, () => {
        clearTimeout(timer);
        socket.off('error', failed);
        resolve(socket);
      });
    });
  }

  /** What the two ends have agreed on. */
  #over(socket: net.Socket, secured: Secured, peer: string): Connection {
    const {identity, level, sendKey, receiveKey, tls} = secured;
    const seal =
      level === 'integrity' ? new FrameSeal(this.#shared.pool, sendKey, receiveKey) : null;
    const connection = this.#watch(new TcpConnection(this.#shared, peer, {identity, seal}));
    if (tls !== null) connection.attachStream(tls);
    else if (!this.#take(socket, connection)) throw new Error('closed by the peer');
    return connection;
  }

  listen(address: string, accept: (connection: Connection) => void): Promise<Listener> {
    const target = parseAddress(address);
    if (target === null)
      return Promise.reject(new FsError('EINVAL', `${address} is not host:port`));
    return new Promise((resolve, reject) => {
      const server = net.createServer({pauseOnConnect: true, noDelay: true});
      server.on('connection', (accepted) => this.#adopt(accepted, accept));
      server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(address, error)));
      server.listen({...target, backlog: 1024}, () => {
        server.removeAllListeners('error');
        // Out of descriptors, for example: whoever dialled tries again, and so the server lives on.
        server.on('error', (error) =>
          this.#log.warn('net.accept-failed', {address, error: error.message}),
        );
        const {port} = server.address() as net.AddressInfo;
        resolve({
          address: formatAddress(target.host, port),
          // Connections at `encrypt` stay the server's: its callback would wait for them.
          close: () =>
            new Promise((done) => {
              server.close();
              setImmediate(done);
            }),
        });
      });
    });
  }

  /**
   * A server's sockets cannot be told to read into a buffer of ours (`onread` is an option of the constructor), so
   * the accepted handle moves to a second socket. The first one, without a handle, only leaves the server's count.
   */
  #take(accepted: net.Socket, connection: TcpConnection): boolean {
    const owner = accepted as unknown as {_handle: (net.BoundSocket & ReadingHandle) | null};
    const handle = owner._handle;
    if (handle === null) return false; // Reset before we came to it.
    handle.readStop();
    // Else the second socket takes it for read already.
    handle.reading = false;
    owner._handle = null;
    accepted.destroy();
    connection.attach(new net.Socket({handle, onread: connection.onread} as SocketOptions));
    return true;
  }

  #adopt(accepted: net.Socket, accept: (connection: Connection) => void): void {
    const peer = formatAddress(accepted.remoteAddress ?? '?', accepted.remotePort ?? 0);
    if (this.#security !== null) {
      this.#prove(accepted, peer, this.#security, accept);
      return;
    }
    const connection = this.#watch(new TcpConnection(this.#shared, peer));
    if (this.#take(accepted, connection)) accept(connection);
  }

  #prove(
    accepted: net.Socket,
    peer: string,
    security: Security,
    accept: (connection: Connection) => void,
  ): void {
    if (this.#unproved.size >= UNPROVED_MAX) this.#sendAway();
    this.#unproved.set(accepted, accepted.remoteAddress ?? '?');
    secureAccepted(accepted, security)
      .then((secured) => accept(this.#over(accepted, secured, peer)))
      .catch((error: unknown) => this.#log.warn('net.refused', {peer, reason: messageOf(error)}))
      .finally(() => this.#unproved.delete(accepted));
  }

  /** The oldest one of the address from which most of them come: who says nothing keeps out nobody but himself. */
  #sendAway(): void {
    const byAddress = Map.groupBy(this.#unproved, ([, address]) => address);
    const [most] = [...byAddress.values()].sort((a, b) => b.length - a.length);
    const [socket] = most![0]!;
    this.#unproved.delete(socket);
    socket.destroy();
  }
}

function listenError(address: string, error: NodeJS.ErrnoException): FsError {
  switch (error.code) {
    case 'EADDRINUSE':
      return new FsError('EBUSY', `${address} is in use by another process`, {cause: error});
    case 'EACCES':
      return new FsError('EACCES', `listening on ${address} is not allowed`, {cause: error});
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new FsError('EINVAL', `${address} is no address of this machine`, {cause: error});
    default:
      return new FsError('EIO', `cannot listen on ${address}: ${error.message}`, {cause: error});
  }
}
