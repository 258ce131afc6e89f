import type * as net from 'node:net';
import {Duplex} from 'node:stream';
import * as tls from 'node:tls';
import {type Identity, LEVELS, type Level} from '../base/identity.js';
import {HEADER_BYTES} from '../protocol/frame.js';
import {identityOf, type Keyring} from './keyring.js';

/*
 * Before the first frame the two ends prove each other who they are, with the handshake of TLS 1.3 by a secret that both know (RFC 8446, PSK with (EC)DHE):
 *
 *   1. in the clear, as many bytes as the header of a frame: `cpfs`, version, the lowest level that this end bears (who dials) or the level that it will be (who
 *      answers), zeros; who knows nothing of it takes that for a damaged frame, and closes
 *   2. TLS 1.3, in which who dials names his identity
 *   3. in it, both preambles as each end saw them, first from who dials: nobody has changed them on the way
 *   4. at `encrypt` all goes on in TLS; below it the connection leaves TLS, with keys for the sums of frames that TLS exports (RFC 5705)
 *
 * Each end waits for the other one at each step, so that no byte of a later step is read in an earlier one. There is no certificate: an end without the secret
 * fails at step 2.
 */

const MAGIC = Buffer.from('cpfs');
const VERSION = 1;
const NOTHING = 'it proves nothing of itself';
const HANDSHAKE_MS = 10_000;
const KEY_BYTES = 32;
const KEYS_LABEL = 'EXPORTER-cpfs-frames';
/** AES of 128 bits is in the processor; SHA-256 is what secrets that are not of a session go with. */
const TLS_OPTIONS = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_128_GCM_SHA256',
} as const;

export interface Security {
  keys: Keyring;
  /** The lowest level that it bears. */
  floor: Level;
  /** Is that one let in? Else why not. Whoever answers asks. */
  refusal(identity: Identity): string | null;
}

/** What came of it. */
export interface Secured {
  level: Level;
  /** Of the other end; servers have no names. */
  identity: Identity;
  /** Of the sums of frames, at `integrity`. */
  sendKey: Buffer;
  receiveKey: Buffer;
  /** At `encrypt` what to talk through; else null, and the socket has nothing of it left. */
  tls: tls.TLSSocket | null;
}

/** What fails it, for the log: nobody on the network hears why. */
class Refused extends Error {}

/** As who has dialled. Rejects with Error when the other end proves nothing, or did not answer in time. */
export const secureDialled = (socket: net.Socket, security: Security): Promise<Secured> =>
  inTime(socket, async (end) => {
    const {keys, floor} = security;
    const asked = preamble(floor);
    const answered = await end.ask(asked);
    const level = levelOf(answered);
    if (level === null || LEVELS.indexOf(level) < LEVELS.indexOf(floor))
      throw new Refused(`it answers as nobody does that bears ${floor}`);
    const {identity, secret} = keys.own;
    const through = end.through(level);
    const secure = tls.connect({
      ...TLS_OPTIONS,
      socket: through as net.Socket,
      // There is no certificate to check: it has the secret, or the handshake fails.
      rejectUnauthorized: true,
      checkServerIdentity: () => undefined,
      pskCallback: () => ({psk: secret, identity}),
    });
    await end.event(secure, 'secureConnect').catch((error: unknown) => {
      const alert = (error as {code?: string}).code?.startsWith('ERR_SSL') === true;
      throw alert ? new Refused('it does not accept the keys of this side') : error;
    });
    if (!secure.isSessionReused() || Object.keys(secure.getPeerCertificate()).length > 0)
      throw new Refused('it has shown another proof than the secret');
    const both = Buffer.concat([asked, answered]);
    secure.write(both);
    const echoed = await end.bytes(secure, both.length);
    if (!echoed.equals(both)) throw new Refused('somebody on the way has changed the level');
    return end.finish(secure, level, {kind: 'server'}, true);
  });

/** As who was dialled. Rejects with Error when the other end is not to be let in. */
export const secureAccepted = (socket: net.Socket, security: Security): Promise<Secured> =>
  inTime(socket, async (end) => {
    const {keys, floor} = security;
    const asked = await end.bytes(socket, HEADER_BYTES, NOTHING);
    const theirs = levelOf(asked);
    if (theirs === null) throw new Refused(NOTHING);
    const level = LEVELS[Math.max(LEVELS.indexOf(theirs), LEVELS.indexOf(floor))]!;
    const answered = preamble(level);
    socket.write(answered);
    let named = '';
    const secure = new tls.TLSSocket(
      end.through(level) as net.Socket,
      {
        ...TLS_OPTIONS,
        isServer: true,
        pskCallback: (_: unknown, identity: string) => {
          named = identity;
          return keys.secretOf(identity);
        },
      } as tls.TLSSocketOptions,
    );
    await end.event(secure, 'secure').catch((error: unknown) => {
      throw named === '' ? error : new Refused(`it has not the secret of ${whoIs(named)}`);
    });
    const identity = identityOf(named);
    const why = identity === null ? 'nobody has that identity' : security.refusal(identity);
    if (identity === null || why !== null) throw new Refused(`${whoIs(named)}: ${why}`);
    // What it is given are keys, which nobody else may read.
    if (identity.kind === 'token' && level !== 'encrypt')
      throw new Refused(`${whoIs(named)}: not at ${level}`);
    const both = Buffer.concat([asked, answered]);
    const seen = await end.bytes(secure, both.length);
    if (!seen.equals(both)) throw new Refused('somebody on the way has changed the level');
    // What comes after the answer is a frame, and may come before this end knows that the answer has left.
    end.stopReading();
    await end.written(secure, both);
    return end.finish(secure, level, identity, false);
  });

const preamble = (level: Level): Buffer =>
  Buffer.concat([MAGIC, Buffer.from([VERSION, LEVELS.indexOf(level)])], HEADER_BYTES);

function levelOf(bytes: Buffer): Level | null {
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) return null;
  if (bytes[4] !== VERSION || bytes.subarray(6).some((byte) => byte !== 0)) return null;
  return LEVELS[bytes[5]!] ?? null;
}

/** For the log; what was not proved may be anything. */
function whoIs(text: string): string {
  const identity = identityOf(text);
  if (identity === null) return 'somebody';
  if (identity.kind === 'token') return `token ${identity.id}`;
  return identity.kind === 'server' ? 'a server' : `client ${identity.name} (${identity.serial})`;
}

async function inTime(socket: net.Socket, run: (end: End) => Promise<Secured>): Promise<Secured> {
  const end = new End(socket);
  const timer = setTimeout(() => end.fail(new Refused('not proved in time')), HANDSHAKE_MS);
  try {
    return await run(end);
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
    end.leave();
  }
}

/** One end of the handshake on a socket. */
class End {
  readonly #socket: net.Socket;
  readonly #failed: Promise<never>;
  #tunnel: Tunnel | null = null;
  fail: (error: Error) => void = () => {};

  constructor(socket: net.Socket) {
    this.#socket = socket;
    this.#failed = new Promise<never>((_, reject) => {
      this.fail = reject;
    });
    this.#failed.catch(() => {});
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
  }

  readonly #onError = (error: Error): void => this.fail(error);
  readonly #onClose = (): void => this.fail(new Refused('closed by the peer'));

  leave(): void {
    this.#socket.off('error', this.#onError);
    this.#socket.off('close', this.#onClose);
  }

  /** Sends in the clear, and waits for as long an answer. */
  ask(bytes: Buffer): Promise<Buffer> {
    this.#socket.write(bytes);
    return this.bytes(this.#socket, bytes.length);
  }

  event(stream: tls.TLSSocket, name: string): Promise<void> {
    const happened = new Promise<void>((resolve, reject) => {
      stream.once(name, () => resolve());
      stream.once('error', reject);
      stream.once('close', () => reject(new Refused('closed by the peer')));
    });
    return Promise.race([happened, this.#failed]);
  }

  /** The next ones; more than that is an error. */
  bytes(stream: Duplex, count: number, more = 'it says more than it may yet'): Promise<Buffer> {
    const read = new Promise<Buffer>((resolve, reject) => {
      const pieces: Buffer[] = [];
      let length = 0;
      const take = (piece: Buffer): void => {
        pieces.push(piece);
        length += piece.length;
        if (length < count) return;
        stream.off('data', take);
        stream.pause();
        if (length > count) reject(new Refused(more));
        else resolve(Buffer.concat(pieces));
      };
      stream.on('data', take);
      stream.once('end', () => reject(new Refused('closed by the peer')));
      stream.once('error', reject);
      stream.resume();
    });
    return Promise.race([read, this.#failed]);
  }

  /** What TLS talks through: at `encrypt` the socket itself, else what can be left. */
  through(level: Level): Duplex {
    if (level === 'encrypt') return this.#socket;
    this.#tunnel = new Tunnel(this.#socket);
    return this.#tunnel;
  }

  written(stream: Duplex, bytes: Buffer): Promise<void> {
    const done = new Promise<void>((resolve, reject) => {
      stream.write(bytes, (error) => (error == null ? resolve() : reject(error)));
    });
    return Promise.race([done, this.#failed]);
  }

  /** Of a socket that TLS will leave: what comes stays in the kernel. */
  stopReading(): void {
    this.#tunnel?.stopReading();
  }

  finish(secure: tls.TLSSocket, level: Level, identity: Identity, dialled: boolean): Secured {
    const keys = secure.exportKeyingMaterial(2 * KEY_BYTES, KEYS_LABEL, Buffer.alloc(0));
    const [there, back] = [keys.subarray(0, KEY_BYTES), keys.subarray(KEY_BYTES)];
    const [sendKey, receiveKey] = dialled ? [there, back] : [back, there];
    secure.removeAllListeners();
    if (this.#tunnel !== null) {
      this.#tunnel.leave();
      // It may still want to say goodbye.
      secure.on('error', () => {});
      secure.destroy();
    }
    return {level, identity, sendKey, receiveKey, tls: level === 'encrypt' ? secure : null};
  }
}

/** What its types do not tell of a socket's handle. */
export interface ReadingHandle {
  readStop(): void;
  /** Does the socket that has it read? */
  reading: boolean;
}

/** A way through a socket that ends before the socket does. */
class Tunnel extends Duplex {
  #socket: net.Socket | null;
  #stopped = false;

  constructor(socket: net.Socket) {
    super();
    this.#socket = socket;
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
  }

  readonly #onData = (bytes: Buffer): void => {
    if (!this.push(bytes)) this.#socket?.pause();
  };
  readonly #onEnd = (): void => void this.push(null);

  override _read(): void {
    if (!this.#stopped) this.#socket?.resume();
  }

  override _write(bytes: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#socket === null) done();
    else this.#socket.write(bytes, done);
  }

  stopReading(): void {
    const socket = this.#socket;
    if (socket === null || this.#stopped) return;
    this.#stopped = true;
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
    socket.pause();
    // `pause` alone lets the socket fill a buffer of its own.
    const {_handle: handle} = socket as unknown as {_handle: ReadingHandle | null};
    if (handle === null) return;
    handle.readStop();
    handle.reading = false;
  }

  leave(): void {
    this.stopReading();
    this.#socket = null;
  }
}
