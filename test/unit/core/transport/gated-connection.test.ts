// Goal: nobody hears of what could still be lost, and nobody is heard by a server whose time is over. Method: a connection in memory.
import {describe, expect, test} from '@jest/globals';
import type {Connection, ConnectionHandler, Frame} from '../../../../src/core/env/net.js';
import {GatedConnection} from '../../../../src/core/transport/gated-connection.js';

const NOTHING = new Uint8Array(0);

function setUp() {
  const sent: number[] = [];
  const heard: number[] = [];
  const released: number[] = [];
  const events: string[] = [];
  let handler: ConnectionHandler | null = null;
  const inner: Connection = {
    peer: 'x',
    handle: (given) => {
      handler = given;
    },
    send: (type, _flags, _id, _status, _message, payload) => {
      sent.push(type);
      for (const {slot} of payload ?? []) released.push(slot);
    },
    queuedBytes: 0,
    queueLimit: 100,
    pause: () => {},
    resume: () => {},
    close: (reason) => {
      events.push(`closed ${reason}`);
      handler?.closed(reason);
    },
  };
  const waiting: (() => void)[] = [];
  const gate = {
    needed: 0,
    reached: 0,
    valid: true,
    onReached: (wake: () => void) => waiting.push(wake),
    reach(to: number) {
      this.reached = to;
      for (const wake of waiting.splice(0)) wake();
    },
  };
  const connection = new GatedConnection(inner, gate, {release: (slot) => released.push(slot)});
  connection.handle({
    frame: ({type}) => heard.push(type),
    closed: (reason) => events.push(`told ${reason}`),
    drained: () => events.push('drained'),
  });
  const send = (type: number, slot = -1, bytes = 0): void =>
    connection.send(
      type,
      0,
      0,
      0,
      new Uint8Array(bytes),
      slot === -1 ? null : [{slot, offset: 0, length: 1}],
    );
  const frame = (type: number, slot = -1): Frame => ({
    type,
    flags: 0,
    id: 0,
    status: 0,
    message: NOTHING,
    payload: slot === -1 ? null : {slot, offset: 0, length: 1},
  });
  const hear = (type: number, slot = -1): void => handler!.frame(frame(type, slot));
  return {connection, gate, sent, heard, released, events, send, hear};
}

describe('a gated connection', () => {
  test('sends at once what needs nothing more, and holds the rest, in order', () => {
    const {gate, sent, send} = setUp();
    send(1);
    gate.needed = 5;
    send(2);
    gate.needed = 7;
    send(3);
    // Needs no more than what is there, but what is before it does.
    gate.needed = 0;
    send(4);
    expect(sent).toEqual([1]);
    gate.reach(6);
    expect(sent).toEqual([1, 2]);
    gate.reach(7);
    expect(sent).toEqual([1, 2, 3, 4]);
    send(5);
    expect(sent).toEqual([1, 2, 3, 4, 5]);
  });

  test('counts what it holds as queued, and says when that is less', () => {
    const {connection, gate, events, send} = setUp();
    gate.needed = 1;
    send(1, -1, 80);
    send(2, -1, 80);
    expect(connection.queuedBytes).toBe(160);
    gate.reach(1);
    expect(connection.queuedBytes).toBe(0);
    expect(events).toEqual(['drained']);
  });

  test('gives its payloads back when it is closed while it holds some', () => {
    const {connection, gate, sent, released, events, send} = setUp();
    gate.needed = 1;
    send(1, 11);
    send(2, 12);
    connection.close('over');
    gate.reach(1);
    expect([sent, released]).toEqual([[], [11, 12]]);
    expect(events).toEqual(['closed over', 'told over']);
  });

  test('lets everything through that was held once it is for who must have it first', () => {
    const {connection, gate, sent, send} = setUp();
    gate.needed = 1;
    send(1);
    connection.ungate();
    send(2);
    expect(sent).toEqual([1, 2]);
  });

  test('of a server whose time is over: nothing leaves, and nobody is heard', () => {
    const {gate, sent, heard, released, events, send, hear} = setUp();
    gate.needed = 1;
    send(1, 11);
    gate.valid = false;
    send(2, 12);
    hear(3, 13);
    gate.reach(1);
    expect([sent, heard]).toEqual([[], []]);
    expect(released.sort()).toEqual([11, 12, 13]);
    expect(events[0]).toMatch('closed');
  });

  test('what was held for it does not leave either when its time is over', () => {
    const {gate, sent, released, send} = setUp();
    gate.needed = 1;
    send(1, 11);
    gate.valid = false;
    gate.reach(1);
    expect([sent, released]).toEqual([[], [11]]);
  });
});
