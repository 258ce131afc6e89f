import {GROUP, type GroupState} from './map.js';

type Name = keyof typeof GROUP;
export type GroupRow = readonly [from: Name, to: Name, why: string];

/**
 * What an epoch can make of a group. Its state follows from those of its slots (`groupState`), of which one epoch may change several. A
 * server that comes back has been known as away, so what is whole never goes straight to recovering; who is away while the others can
 * write is rebuilt, so what is degraded never goes straight to whole; no slot gets empty again.
 */
export const groupTransitions: readonly GroupRow[] = [
  ['creating', 'ready', 'every slot has a server'],
  ['creating', 'degraded', 'every slot has a server, and one of them is away'],
  ['creating', 'recovering', 'every slot has a server, and one of them took that of a lost one'],
  ['creating', 'failed', 'every slot has a server, and too many of them are away'],
  ['creating', 'draining', 'every slot has a server, and one of them is being drained'],
  ['ready', 'degraded', 'a server was lost'],
  ['ready', 'failed', 'more servers were lost than the redundancy makes up for'],
  ['ready', 'draining', 'a waiting server copies one of its servers'],
  ['degraded', 'recovering', 'nobody is away any more'],
  ['degraded', 'failed', 'more servers were lost than the redundancy makes up for'],
  ['recovering', 'ready', 'everything is rebuilt'],
  ['recovering', 'degraded', 'a server was lost while it, or another one, was rebuilt'],
  ['recovering', 'failed', 'servers were lost while others were rebuilt'],
  ['recovering', 'draining', 'everything is rebuilt, and the copy of a server goes on'],
  ['failed', 'ready', 'all are back at once, and nothing was written meanwhile'],
  ['failed', 'degraded', 'enough servers are there again'],
  ['failed', 'recovering', 'all are back at once, and one of them has something to rebuild'],
  ['failed', 'draining', 'all are back at once, and the copy of a server goes on'],
  ['draining', 'ready', 'the server is kept'],
  ['draining', 'degraded', 'the server has been copied, or one was lost'],
  ['draining', 'failed', 'more servers were lost than the redundancy makes up for'],
];

/** The row for a change; null: there is no such change. */
export function groupTransition(from: GroupState, to: GroupState): GroupRow | null {
  return groupTransitions.find((row) => GROUP[row[0]] === from && GROUP[row[1]] === to) ?? null;
}
