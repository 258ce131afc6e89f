import * as net from 'node:net';
import {formatAddress, parseAddress} from '../base/address.js';
import {FsError, Lost, messageOf} from '../base/errors.js';
import type {BufferPool} from '../base/pool.js';
import {type Log, silentLog} from '../env/log.js';
import type {Connection, Listener, Net, Resolver} from '../env/net.js';
import {type NetStats, TcpConnection, type TcpShared, tcpShared} from './tcp-connection.js';

/** Options of net.Socket that its types do not know: an accepted handle may be given. */
type SocketOptions = net.SocketConstructorOpts & {handle?: unknown};

/** Frames over TCP. Payload is received into `pool` and sent from it. */
export class TcpNet implements Net {
  readonly #shared: TcpShared;
  readonly #log: Log;
  readonly #resolver: Resolver | null;

  /** Without a resolver all names are dialled as they are. */
  constructor(pool: BufferPool, log: Log = silentLog, resolver: Resolver | null = null) {
    this.#shared = tcpShared(pool);
    this.#log = log;
    this.#resolver = resolver;
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
    return new Promise((resolve, reject) => {
      const connection = new TcpConnection(this.#shared, address);
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
          close: () => new Promise((done) => server.close(() => done())),
        });
      });
    });
  }

  /**
   * A server's sockets cannot be told to read into a buffer of ours (`onread` is an option of the constructor), so
   * the accepted handle moves to a second socket. The first one, without a handle, only leaves the server's count.
   */
  #adopt(accepted: net.Socket, accept: (connection: Connection) => void): void {
    const owner = accepted as unknown as {_handle: unknown};
    const handle = owner._handle;
    if (handle === null) return; // Reset before we came to it.
    const peer = formatAddress(accepted.remoteAddress ?? '?', accepted.remotePort ?? 0);
    owner._handle = null;
    accepted.destroy();
    const connection = new TcpConnection(this.#shared, peer);
    const socket = new net.Socket({handle, onread: connection.onread} as SocketOptions);
    connection.attach(socket);
    accept(connection);
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
