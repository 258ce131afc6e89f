import {describe, expect, test} from '@jest/globals';
import {
  ENTRY_OUT,
  INIT_IN,
  INIT_OUT,
  OPCODE,
  READ_IN,
  WRITE_IN,
} from '../../../../src/core/door/fuse/abi.js';
import {get64, put64} from '../../../../src/core/door/fuse/structs.js';
import {SimFuseChannel} from '../../../../src/core/sim/fuse-channel.js';
import {MEMORY_BYTES, MemoryFuse, RESERVE_SLOTS} from '../../../support/memory-fuse.js';

// Goal: a door that works over the real channel works over the simulated one. Method: the file system in memory that
// test/native mounts for real, here with the test as its kernel.

const words = (count: number, set: Record<number, number>): Uint8Array => {
  const u32 = new Uint32Array(count);
  for (const [at, value] of Object.entries(set)) put64(u32, Number(at), value);
  return new Uint8Array(u32.buffer);
};
const text = (s: string): Uint8Array => Buffer.from(`${s}\0`);
const u32 = (bytes: Uint8Array): Uint32Array => new Uint32Array(Uint8Array.from(bytes).buffer);

function world(slots?: number) {
  const memory = new ArrayBuffer(MEMORY_BYTES);
  const channel = new SimFuseChannel(memory);
  const fs = new MemoryFuse(channel, memory, {slots});
  return {channel, fs};
}

describe('SimFuseChannel', () => {
  test('INIT, a file written and read back, forgotten', async () => {
    const {channel, fs} = world();
    const init = new Uint32Array(16);
    init.set([7, 45, 131072, 0xffffffff], INIT_IN.major);
    const agreed = await channel.call(OPCODE.INIT, 0, new Uint8Array(init.buffer)).reply;
    expect(u32(agreed.bytes)[INIT_OUT.maxWrite]).toBe(1 << 20);
    const create = Buffer.concat([words(4, {0: 0o100644 * 2 ** 32}), text('f')]);
    const created = await channel.call(OPCODE.CREATE, 1, create, {uid: 5}).reply;
    const ino = get64(u32(created.bytes), ENTRY_OUT.nodeid);
    expect(fs.nodes.get(ino)!.uid).toBe(5);
    const write = Buffer.concat([
      words(WRITE_IN.words, {[WRITE_IN.size]: 5}),
      Buffer.from('hello'),
    ]);
    expect((await channel.call(OPCODE.WRITE, ino, write).reply).errno).toBe(0);
    const read = words(READ_IN.words, {[READ_IN.offset]: 1, [READ_IN.size]: 100});
    const {bytes} = await channel.call(OPCODE.READ, ino, read).reply;
    expect(Buffer.from(bytes).toString()).toBe('ello');
    channel.forget(ino, 1);
    expect(fs.forgotten).toBe(1);
    expect((await channel.call(OPCODE.LOOKUP, 1, text('none')).reply).errno).toBe(2);
    expect(fs.failures).toEqual([]);
  });

  test('without a slot requests wait; the reserve is told apart; arming wakes them', async () => {
    const {channel, fs} = world(0);
    expect(channel.armed).toEqual([0, RESERVE_SLOTS]);
    expect((await channel.call(OPCODE.LOOKUP, 1, text('none')).reply).errno).toBe(2);
    expect(fs.fromReserve).toBe(1);
    const memory = new ArrayBuffer(MEMORY_BYTES);
    const bare = new SimFuseChannel(memory);
    const early = bare.call(OPCODE.LOOKUP, 1, text('none'));
    new MemoryFuse(bare, memory);
    expect((await early.reply).errno).toBe(2);
  });

  test('an interrupt ends what waits, in the channel and in the door; a second reply is reported', async () => {
    const {channel, fs} = world();
    const file = fs.addFile(fs.root, 'blocked', 'x');
    const {ticket, reply} = channel.call(OPCODE.READ, file.ino, words(READ_IN.words, {}));
    channel.interrupt(ticket);
    expect((await reply).errno).toBe(4);
    expect(fs.interrupted).toBe(1);
    channel.interrupt(ticket); // Answered already: nothing.
    channel.replyError(ticket, 0);
    channel.flush();
    expect(fs.failures).toEqual([[ticket, 9]]);
  });
});
