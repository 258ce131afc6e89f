import {SLOT} from './map.js';
import type {GroupRecord} from './state.js';

/** A new order for the group: everything in its intent logs is to be checked. It takes the place of an unfinished one. */
export function orderResync(group: GroupRecord): void {
  const slot = group.order.done ? -1 : group.order.slot;
  group.order = {number: group.order.number + 1, slot, done: false};
}

/** Gives an order that nobody has to the lowest ready server; true if it was given. */
export function passOrder({order, slots}: GroupRecord): boolean {
  if (order.done || order.slot >= 0) return false;
  order.slot = slots.findIndex((slot) => slot.state === SLOT.ready && slot.member?.connected);
  return order.slot >= 0;
}
