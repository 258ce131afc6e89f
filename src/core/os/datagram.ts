import {loadNative} from './native.js';

interface System {
  sendDatagram(path: string, text: string): number;
}

/** Sends one datagram to a UNIX socket (`@NAME`: in the abstract namespace) and does not wait; 0 or an errno. */
export const sendDatagram = (path: string, text: string): number =>
  loadNative<System>('system').sendDatagram(path, text);
