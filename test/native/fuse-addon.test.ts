import {once} from 'node:events';
import {closeSync, readSync, writeSync} from 'node:fs';
import {Worker} from 'node:worker_threads';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {IN_HEADER, OPCODE} from '../../src/core/door/fuse/abi.js';
import type {FuseHandler} from '../../src/core/env/fuse-channel.js';
import {DeviceFuseChannel} from '../../src/core/os/fuse-channel.js';
import {fuseNative, type NativeChannel} from '../../src/core/os/fuse-native.js';

// Goal: misuse of the addon is an exception with a code or an errno, in each state, and never a crash; the end of an
// environment closes what it had open. Method: a socket plays the device, so neither root nor a mount is needed.

const native = fuseNative();
const {layout} = native;
const nothing = (): void => {};
let kernel: number;
let device: number;

beforeEach(() => {
  const pair = native.socketPair();
  if (typeof pair === 'number') throw new Error(`errno ${-pair}`);
  [kernel, device] = pair;
});
afterEach(() => closeSync(kernel));

function request(opcode: number, unique: number, body = 16): void {
  const u32 = new Uint32Array(IN_HEADER.words + body / 4);
  u32[IN_HEADER.len] = u32.byteLength;
  u32[IN_HEADER.opcode] = opcode;
  u32[IN_HEADER.unique] = unique;
  u32[IN_HEADER.nodeid] = 1;
  writeSync(kernel, new Uint8Array(u32.buffer));
}

/** The errno and unique of the next reply. */
function reply(): {errno: number; unique: number} {
  const bytes = Buffer.alloc(16);
  expect(readSync(kernel, bytes)).toBe(16);
  return {errno: -bytes.readInt32LE(4), unique: bytes.readUInt32LE(8)};
}

const code = (call: () => unknown): string => {
  try {
    call();
  } catch (e) {
    return (e as NodeJS.ErrnoException).code ?? String(e);
  }
  return 'nothing was thrown';
};

describe('guards', () => {
  const open = (): NativeChannel =>
    new native.Channel(
      device,
      new ArrayBuffer(layout.slotBytes),
      new ArrayBuffer(layout.controlBytes),
      nothing,
      nothing,
      nothing,
      0,
    );

  test('fuse addon: a channel is not made from wrong arguments', () => {
    const Channel = native.Channel as new (...args: unknown[]) => NativeChannel;
    const good: unknown[] = [
      device,
      new ArrayBuffer(8),
      new ArrayBuffer(layout.controlBytes),
      nothing,
      nothing,
      nothing,
      0,
    ];
    for (let i = 0; i < good.length; i++) {
      for (const wrong of [undefined, 'text', {}, new SharedArrayBuffer(8)]) {
        expect(code(() => new Channel(...good.with(i, wrong)))).toBe('EINVAL');
      }
    }
    expect(code(() => new Channel(...good.slice(1)))).toBe('EINVAL');
    expect(code(() => new Channel(...good.with(2, new ArrayBuffer(8))))).toBe('EINVAL');
    expect(code(() => new Channel(...good.with(0, 999_999)))).toBe('EBADF');
    native.closeDescriptor(device);
  });

  test('fuse addon: each method refuses wrong arguments while open, and everything when closed', () => {
    const channel = open() as unknown as Record<string, (...args: unknown[]) => unknown>;
    const calls: [string, unknown[], unknown[][]][] = [
      ['arm', [0, false], [[], [0], ['0', false], [0, 1]]],
      ['flush', [0], [[], ['0'], [0, 0]]],
      [
        'notify',
        [1, 2, new Uint8Array(8)],
        [[], [1, 2], [1, 2, 'x'], [1, 2, new Uint16Array(4)], [1, 2, new Uint8Array(1 << 20)]],
      ],
    ];
    for (const [method, good, wrong] of calls) {
      for (const args of wrong) expect(code(() => channel[method]!(...args))).toBe('EINVAL');
      expect(code(() => channel[method]!(...good))).toBe('nothing was thrown');
      expect(
        code(() => (native.Channel.prototype as typeof channel)[method]!.call({}, ...good)),
      ).not.toBe('nothing was thrown');
    }
    expect(channel.arm!(0, false)).toBe(16); // EBUSY: it is armed.
    expect(channel.arm!(4096, false)).toBe(22); // EINVAL: does not fit.
    channel.close!();
    channel.close!(); // Twice is nothing.
    for (const [method, good] of calls) expect(code(() => channel[method]!(...good))).toBe('EBADF');
  });

  test('fuse addon: the functions for mounting refuse wrong arguments', () => {
    const f = native as unknown as Record<string, (...args: unknown[]) => unknown>;
    for (const args of [[], ['d', 't', 's', 0, 'o'], ['d', 't', 's', '0', 'o', nothing]]) {
      expect(code(() => f.mount!(...args))).toBe('EINVAL');
    }
    for (const name of ['receiveDescriptor', 'closeDescriptor']) {
      expect(code(() => f[name]!())).toBe('EINVAL');
      expect(f[name]!(999_999)).toBe(name === 'closeDescriptor' ? 9 : -9);
    }
    native.closeDescriptor(device);
  });
});

class Recorder implements FuseHandler {
  readonly seen: unknown[][] = [];
  #wake: (() => void) | undefined;
  onRequest: (ticket: number, slot: number) => void = () => {};

  #add(...what: unknown[]): void {
    this.seen.push(what);
    this.#wake?.();
  }
  async until(count: number): Promise<void> {
    while (this.seen.length < count) await new Promise<void>((wake) => (this.#wake = wake));
  }
  request(ticket: number, slot: number, flags: number): void {
    this.#add('request', slot, flags);
    this.onRequest(ticket, slot);
  }
  interrupt(): void {
    this.#add('interrupt');
  }
  forget(nodeid: number, count: number): void {
    this.#add('forget', nodeid, count);
  }
  batchEnd(): void {}
  replyFailed(_: number, errno: number): void {
    this.#add('failed', errno);
  }
  notified(id: number, errno: number): void {
    this.#add('notified', id, errno);
  }
  ended(errno: number): void {
    this.#add('ended', errno);
  }
}

describe('channel', () => {
  test('fuse addon: nothing is read without a slot, and arming one wakes the channel', async () => {
    const channel = new DeviceFuseChannel(device, new ArrayBuffer(2 * layout.slotBytes));
    const door = new Recorder();
    channel.start(door);
    request(OPCODE.STATFS, 2);
    channel.notify(9, new Uint8Array(0));
    await door.until(1);
    expect(door.seen).toEqual([['notified', 1, 0]]); // The loop has run; the request is still out there.
    expect(readSync(kernel, Buffer.alloc(16))).toBe(16);
    door.onRequest = (ticket) => channel.replyError(ticket, 38);
    channel.arm(layout.slotBytes, false);
    expect(channel.armed).toEqual([1, 0]);
    await door.until(2);
    expect(door.seen[1]).toEqual(['request', layout.slotBytes, 0]);
    expect(channel.armed).toEqual([0, 0]);
    expect(reply()).toEqual({errno: 38, unique: 2});
    channel.close();
  });

  test('fuse addon: a reply from a later tick leaves by itself; a second one is reported', async () => {
    const channel = new DeviceFuseChannel(device, new ArrayBuffer(2 * layout.slotBytes));
    const door = new Recorder();
    channel.start(door);
    const ticket = new Promise<number>((now) => {
      door.onRequest = now;
    });
    channel.arm(0, false);
    request(OPCODE.GETATTR, 4);
    const t = await ticket;
    channel.replyError(t, 5);
    await null;
    expect(reply()).toEqual({errno: 5, unique: 4});
    channel.replyError(t, 0);
    channel.flush();
    expect(door.seen.at(-1)).toEqual(['failed', 9]);
    channel.close();
  });

  test('fuse addon: more replies than the ring holds all leave', async () => {
    const channel = new DeviceFuseChannel(device, new ArrayBuffer(2 * layout.slotBytes));
    const door = new Recorder();
    channel.start(door);
    const rounds = 100;
    let served = 0;
    door.onRequest = (ticket, slot) => {
      // 100 segments each: 40 of them fill the ring of 8192 words. Wrong tickets beside, to fill it within one batch.
      const pairs = Array.from({length: 200}, (_, i) => (i % 2 === 0 ? slot : 0));
      for (let i = 0; i < 60; i++) channel.replyData(0x7fff0000 + i, pairs, 100);
      channel.replyData(ticket, pairs, 100);
      channel.arm(slot, false);
      if (++served < rounds) request(OPCODE.READ, 2 * served + 2, 40);
    };
    channel.arm(0, false);
    request(OPCODE.READ, 2, 40);
    await door.until(rounds * 61);
    for (let i = 0; i < rounds; i++) expect(reply()).toEqual({errno: -0, unique: 2 * i + 2});
    expect(door.seen.filter(([what]) => what === 'failed')).toHaveLength(rounds * 60);
    channel.close();
  });

  test('fuse addon: the end of the device is told once; arming afterwards does nothing', async () => {
    const channel = new DeviceFuseChannel(device, new ArrayBuffer(layout.slotBytes));
    const door = new Recorder();
    channel.start(door);
    channel.arm(0, false);
    const other = native.socketPair() as [number, number];
    native.closeDescriptor(kernel);
    [kernel] = other;
    native.closeDescriptor(other[1]);
    await door.until(1);
    expect(door.seen).toEqual([['ended', 0]]);
    channel.close();
    channel.arm(0, false);
    expect(channel.notify(1, new Uint8Array(0))).toBe(0);
  });

  test('fuse addon: detached memory ends the channel instead of being written to', async () => {
    const memory = new ArrayBuffer(layout.slotBytes);
    const channel = new DeviceFuseChannel(device, memory);
    const door = new Recorder();
    channel.start(door);
    channel.arm(0, false);
    structuredClone(memory, {transfer: [memory]});
    request(OPCODE.STATFS, 2);
    await door.until(1);
    expect(door.seen).toEqual([['ended', 14]]);
    channel.close();
  });

  test('fuse addon: the end of a worker closes its channels', async () => {
    const source = `
      const {parentPort, workerData} = require('node:worker_threads');
      import(workerData.channel).then(({DeviceFuseChannel}) => {
        globalThis.kept = new DeviceFuseChannel(workerData.device, new ArrayBuffer(workerData.bytes));
        parentPort.postMessage('open');
      });`;
    const channel = new URL('../../src/core/os/fuse-channel.js', import.meta.url).href;
    const worker = new Worker(source, {
      eval: true,
      workerData: {channel, device, bytes: layout.slotBytes},
    });
    await once(worker, 'message');
    await worker.terminate();
    expect(readSync(kernel, Buffer.alloc(1))).toBe(0); // The other end is gone.
  });
});
