import {createServer, type IncomingMessage, type ServerResponse} from 'node:http';
import type {AddressInfo, Socket} from 'node:net';
import {formatAddress, parseAddress} from '../../core/base/address.js';
import {messageOf} from '../../core/base/errors.js';
import type {Log} from '../../core/env/log.js';
import {CliError, EXIT} from '../cli-error.js';

/** One thing that readiness is made of; `why` is for people. */
export interface Check {
  name: string;
  ok: boolean;
  why: string;
}

/** What a process tells of itself. */
export interface Observed {
  /** Empty, or one that is not ok: it does not serve. */
  checks(): Check[];
  metrics(): Promise<string>;
  version(): Record<string, string | number>;
}

export interface AdminPort {
  readonly address: string;
  close(): void;
}

/** One more, and the oldest one goes: who connects and says nothing must not keep others from asking. */
const CONNECTIONS_MAX = 64;
const REQUEST_MS = 10_000;
const LOOK_MS = 1_000;
/** Of what is logged. */
const PATH_CHARS_MAX = 200;
const PATHS = ['/livez', '/readyz', '/metrics', '/version'];

interface Page {
  status: number;
  type: string;
  text: string;
}

const plain = (status: number, text: string): Page => ({
  status,
  type: 'text/plain; charset=utf-8',
  text: `${text}\n`,
});

function readiness(checks: readonly Check[], verbose: boolean): Page {
  const ready = checks.length > 0 && checks.every(({ok}) => ok);
  const last = ready ? 'ready' : 'not ready';
  const lines = checks.map(({name, ok, why}) => `[${ok ? '+' : '-'}] ${name}: ${why}`);
  return plain(ready ? 200 : 503, [...(verbose ? lines : []), last].join('\n'));
}

async function page(path: string, query: URLSearchParams, observed: Observed): Promise<Page> {
  switch (path) {
    case '/livez':
      return plain(200, 'alive');
    case '/readyz':
      return readiness(observed.checks(), query.has('verbose'));
    case '/metrics':
      return {
        status: 200,
        type: 'text/plain; version=0.0.4; charset=utf-8',
        text: await observed.metrics(),
      };
    case '/version':
      return {
        status: 200,
        type: 'application/json',
        text: `${JSON.stringify(observed.version())}\n`,
      };
    default:
      return plain(404, `there is ${PATHS.join(', ')}`);
  }
}

/** Listens for those who watch this process: reading only, and without asking who they are. CliError: it cannot. */
export function openAdminPort(address: string, log: Log, observed: Observed): Promise<AdminPort> {
  const target = parseAddress(address)!;
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const {pathname, searchParams} = new URL(request.url ?? '/', 'http://admin');
    const reads = request.method === 'GET' || request.method === 'HEAD';
    const {status, type, text} = reads
      ? await page(pathname, searchParams, observed)
      : plain(405, 'GET and HEAD only');
    const body = Buffer.from(text);
    response.writeHead(status, {
      'content-type': type,
      'content-length': body.length,
      'cache-control': 'no-store',
      ...(reads ? {} : {allow: 'GET, HEAD'}),
    });
    response.end(request.method === 'HEAD' ? undefined : body);
  };
  const times = {
    headersTimeout: REQUEST_MS,
    requestTimeout: REQUEST_MS,
    connectionsCheckingInterval: LOOK_MS,
  };
  const server = createServer(times, (request, response) => {
    request.resume();
    answer(request, response).catch((error: unknown) => {
      log.warn('admin.failed', {
        path: request.url?.slice(0, PATH_CHARS_MAX),
        error: messageOf(error),
      });
      response.destroy();
    });
  });
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    if (sockets.size > CONNECTIONS_MAX) sockets.values().next().value?.destroy();
  });
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new CliError(
          `cannot listen on ${address} for --admin (${messageOf(error)}); name another port, or 'off'`,
          EXIT.conflict,
        ),
      ),
    );
    server.listen(target, () => {
      server.removeAllListeners('error');
      server.on('error', (error) => log.warn('admin.accept_failed', {error: messageOf(error)}));
      const at = formatAddress(target.host, (server.address() as AddressInfo).port);
      log.info('admin.ready', {address: at});
      resolve({
        address: at,
        close: () => {
          server.close();
          server.closeAllConnections();
        },
      });
    });
  });
}
