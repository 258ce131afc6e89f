import {loadNative} from './native.js';

/** Offsets in the control block: doubles, except for the sizes in bytes. Named as in native/fuse/core.hpp. */
interface Layout {
  controlBytes: number;
  stats: number;
  opcodes: number;
  opcodesCount: number;
  requests: number;
  forgets: number;
  notified: number;
  replies: number;
  repliesCount: number;
  segmentsMax: number;
  heads: number;
  headBytes: number;
  slotBytes: number;
  requestOffset: number;
}

export interface NativeChannel {
  arm(slot: number, reserve: boolean): number;
  flush(count: number): number;
  notify(id: number, code: number, body: Uint8Array): boolean;
  empty(): boolean;
  begun(): number;
  close(): void;
}

/** native/fuse as JavaScript sees it; README.md there says who owns what. */
export interface FuseNative {
  Channel: new (
    device: number,
    memory: ArrayBuffer,
    control: ArrayBuffer,
    onBatch: (requests: number, forgets: number) => void,
    onNotified: (count: number) => void,
    onEnd: (errno: number) => void,
    lingerNs: number,
  ) => NativeChannel;
  layout: Layout;
  /** Calls back with the device's descriptor or a negative errno. */
  mount(
    dir: string,
    type: string,
    source: string,
    flags: number,
    options: string,
    done: (result: number) => void,
  ): void;
  socketPair(): [number, number] | number;
  receiveDescriptor(socket: number): number;
  closeDescriptor(descriptor: number): number;
}

/** Throws one sentence when the addon has not been built. */
export function fuseNative(): FuseNative {
  return loadNative<FuseNative>('fuse');
}
