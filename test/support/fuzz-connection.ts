import {connect, type Socket} from 'node:net';
import {parseAddress} from '../../src/core/base/address.js';
import {opByCode} from '../../src/core/protocol/ops.js';
import {frameBytes, seeded} from './frames.js';
import {mutateFrame} from './mutate-frame.js';

export interface FuzzResult {
  /** Damaged frames that were sent. */
  sent: number;
  /** Connections that were opened: one more for each that the server closed. */
  connections: number;
  /** Bytes that the server answered. */
  answered: number;
}

export interface FuzzOptions {
  address: string;
  /** Print it in the name of the test. */
  seed: number;
  frames: number;
  /** Valid frames that are sent first on each connection, such as a hello; undamaged. What follows waits until the server has answered. */
  prologue?: readonly Uint8Array[];
  /** Valid frames that are damaged; by default one of every type, with an empty message. */
  samples?: readonly Uint8Array[];
}

/** One request of every type there is, without content. */
export function emptyRequests(): Uint8Array[] {
  const empty = new Uint8Array(0);
  return [...opByCode.keys()].map((type, at) =>
    frameBytes({type, flags: 0, id: at + 1, status: 0, message: empty, payload: empty}),
  );
}

/**
 * Throws damaged frames at a server over raw TCP. Resolves when all have been sent; rejects when a connection cannot
 * be opened any more, so a server that died of it is noticed here.
 */
export async function fuzzConnection(options: FuzzOptions): Promise<FuzzResult> {
  const below = seeded(options.seed);
  const samples = options.samples ?? emptyRequests();
  const result: FuzzResult = {sent: 0, connections: 0, answered: 0};
  while (result.sent < options.frames) {
    const socket = await open(options.address);
    result.connections++;
    socket.on('data', (bytes) => {
      result.answered += bytes.length;
    });
    for (const bytes of options.prologue ?? []) {
      const answer = answered(socket);
      await write(socket, bytes);
      await answer;
    }
    // Not for ever on one: a frame cut short makes the rest of the stream its payload.
    for (let left = 20; left > 0 && result.sent < options.frames && socket.writable; left--) {
      await write(socket, mutateFrame(samples[below(samples.length)]!, below));
      result.sent++;
    }
    await finish(socket);
  }
  return result;
}

function open(address: string): Promise<Socket> {
  const target = parseAddress(address);
  if (target === null) return Promise.reject(new Error(`${address} is not host:port`));
  return new Promise((resolve, reject) => {
    const socket = connect(target);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      socket.on('error', () => {}); // Being reset is what this is about.
      resolve(socket);
    });
  });
}

/** Resolves when the bytes are with the kernel, or the server has closed. */
function write(socket: Socket, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    if (bytes.length === 0 || !socket.writable) resolve();
    else socket.write(bytes, () => resolve());
  });
}

/** Resolves when bytes have come, or none will. */
function answered(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('data', () => resolve());
    socket.once('close', () => resolve());
    if (socket.closed) resolve();
  });
}

/** Ends our side and waits until the server's has ended, too. */
function finish(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) {
      resolve();
      return;
    }
    socket.once('close', () => resolve());
    socket.end();
    socket.resume();
  });
}
