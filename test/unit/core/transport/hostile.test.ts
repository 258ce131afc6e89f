import {afterEach, describe, expect, test} from '@jest/globals';
import type {Listener} from '../../../../src/core/env/net.js';
import {TcpNet} from '../../../../src/core/os/net-tcp.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {Handlers} from '../../../../src/core/transport/handlers.js';
import {Peer} from '../../../../src/core/transport/peer.js';
import {frameBytes, makePool, pattern} from '../../../support/frames.js';
import {emptyRequests, fuzzConnection} from '../../../support/fuzz-connection.js';
import {realClock} from '../../../support/real-clock.js';
import {RecordingLog} from '../../../support/recording-log.js';

const SEED = 48_113;
const none = new Uint8Array(0);
let listener: Listener | null = null;

afterEach(async () => {
  await listener?.close();
});

describe('a server and a peer that talks nonsense', () => {
  // Goal: nothing that arrives can end the process, leak a slot or stay unlogged. Method: damaged frames over real TCP.
  test(`3,000 damaged frames (C100, seed ${SEED})`, async () => {
    const pool = makePool();
    const log = new RecordingLog();
    const bugs: unknown[] = [];
    let open = 0;
    let requests = 0;
    const handlers = new Handlers<null>()
      .on(OPS.getattr, () => {
        requests++;
        return {message: {}};
      })
      .on(OPS.write, (_request, _context, payload) => {
        requests++;
        if (payload !== null) pool.release(payload.slot);
        return {message: {}};
      });
    listener = await new TcpNet(pool).listen('127.0.0.1:0', (connection) => {
      open++;
      const onClosed = () => open--;
      const onBug = (bug: unknown) => bugs.push(bug);
      new Peer({clock: realClock, log, pool}, connection, {onClosed, onBug}).serve(handlers, null);
    });
    const ref = {
      oid: 1,
      chunk: 0,
      generation: 0,
      column: 0,
      k: 4,
      m: 1,
      unitBytes: 65536,
      epoch: 1,
      repair: false,
    };
    const plain = {flags: 0, id: 9, status: 0};
    const message = Uint8Array.from(OPS.write.request.encode({ref}));
    const allowed = [
      frameBytes({...plain, type: OPS.getattr.code, message: none, payload: none}),
      frameBytes({...plain, type: OPS.write.code, message, payload: pattern(5000, 1)}),
      frameBytes({...plain, type: OPS.write.code, message, payload: pattern(50_000, 2)}),
    ];
    const samples = [...emptyRequests(), ...Array(20).fill(allowed).flat()];
    const {address} = listener;
    const result = await fuzzConnection({address, seed: SEED, frames: 3000, samples});
    expect(result.sent).toBe(3000);
    while (open > 0 || pool.used > 0) await new Promise((resolve) => setImmediate(resolve));
    expect(bugs).toEqual([]);
    expect(log.of('handler.failed')).toEqual([]);
    expect(log.of('peer.closed')).toHaveLength(result.connections);
    for (const {reason} of log.of('peer.closed')) expect(reason).not.toBe('');
    // Some got through to a handler, and some to the checks of messages: else the damage would be too coarse.
    expect(requests).toBeGreaterThan(10);
    expect(log.of('peer.refused').length).toBeGreaterThan(10);
  });
});
