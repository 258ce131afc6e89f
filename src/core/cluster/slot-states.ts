import {groupTransitions} from './group-states.js';
import {SLOT, type SlotState} from './map.js';

export type SlotEvent = 'joined' | 'lost' | 'back' | 'backWhole' | 'replaced' | 'recovered';

export type SlotRow = readonly [
  from: keyof typeof SLOT,
  on: SlotEvent,
  to: keyof typeof SLOT,
  why: string,
];

/** What can happen to a slot. The reason is logged with every transition; docs/failures.md is printed from this. */
export const slotTransitions: readonly SlotRow[] = [
  [
    'empty',
    'joined',
    'ready',
    'the group is being created, so nothing was ever written without it',
  ],
  ['ready', 'lost', 'away', 'closed connection, silence, reports or a missing acknowledgement'],
  ['recovering', 'lost', 'away', 'the missed logs of the others keep what it still lacks'],
  ['away', 'back', 'recovering', 'writes went on without it: what it missed is rebuilt'],
  ['away', 'backWhole', 'ready', 'nothing could be written while it was away'],
  ['away', 'replaced', 'recovering', 'an empty server took the slot: all its columns are rebuilt'],
  ['recovering', 'recovered', 'ready', 'it has everything that it missed'],
];

/** The row for an event in a state; null: this cannot happen here. */
export function slotTransition(from: SlotState, on: SlotEvent): SlotRow | null {
  return slotTransitions.find((row) => SLOT[row[0]] === from && row[1] === on) ?? null;
}

const eventMeaning: Record<SlotEvent, string> = {
  joined:
    'an unknown server takes the first empty slot of its group; or one that waits for a group fills it',
  lost: 'the meta server puts the server out of the epoch',
  back: 'the server of the slot registers again after it was put out',
  backWhole:
    'the same, and the group could not be written meanwhile; if it has lost what it had not synced it waits for others that may have that, 5 s at most',
  replaced:
    'an unknown server asks for a group that has no empty slot, but one that is away; or a spare gets the slot of one that stays away, by itself or because an administrator says so',
  recovered:
    'the server of the slot has rebuilt everything, and nobody is away who may know of more',
};

/** docs/failures.md, whole. */
export function failuresDocument(): string {
  const lines = [
    '# States of a slot',
    '',
    'Printed from the transition table in `src/core/cluster/slot-states.ts`; do not edit (`test/tidy/failures-doc.test.ts`',
    'compares, and rewrites it when `CPFS_REWRITE=1`).',
    '',
    'Every change of a state is a new epoch of the cluster map. Data servers acknowledge it before a client hears of it.',
    'What is not in the table cannot happen.',
    '',
    '| state | event | next state | why |',
    '| --- | --- | --- | --- |',
    ...slotTransitions.map(([from, on, to, why]) => `| ${from} | ${on} | ${to} | ${why} |`),
    '',
    '| event | meaning |',
    '| --- | --- |',
    ...Object.entries(eventMeaning).map(([event, meaning]) => `| ${event} | ${meaning} |`),
    '',
    '# A group that has failed',
    '',
    'Where more slots than the redundancy bears are not ready, columns that are there are still read. What cannot be read waits until they have been so for',
    '20 s, as far as the mount has seen, since it may be a restart; from then on it is EIO at once. With `-o on-failure=wait` it waits, for a day, and programs that wait can be',
    'killed. Writes wait for 30 s, and are EIO at the next fsync or close. Other groups go on.',
    '',
    '# States of a group',
    '',
    'They follow from the states of its slots, of which one epoch may change several. Printed from `src/core/cluster/group-states.ts`.',
    'The meta server logs each change as `group.<next state>`.',
    '',
    '| state | next state | why |',
    '| --- | --- | --- |',
    ...groupTransitions.map(([from, to, why]) => `| ${from} | ${to} | ${why} |`),
    '',
  ];
  return lines.join('\n');
}
