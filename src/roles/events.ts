import {setTimeout as delay} from 'node:timers/promises';
import {OPS} from '../core/protocol/ops.js';
import type {PeerLike} from '../core/transport/peer-api.js';
import {withMeta} from './admin.js';
import {CliError, EXIT} from './cli-error.js';

/** What happened. Stable: fields are added, never changed. */
export interface ClusterEvent {
  /** In the list of this meta server. */
  number: number;
  /** ISO 8601. */
  at: string;
  level: string;
  /** As in the log of the meta server. */
  event: string;
  fields: Record<string, string | number | boolean | null>;
}

export interface EventsPage {
  /** Which list: each meta server begins its own when it becomes the active one. */
  boot: number;
  events: ClusterEvent[];
  /** So many are not kept any more. */
  missed: number;
}

export interface Cursor {
  boot: number;
  after: number;
}

const PAGE_MAX = 500;
const WAIT_MS = 15_000;
const AGAIN_MS = 1_000;

type Ask = (cursor: Cursor, waitMs: number) => Promise<EventsPage>;

/** The next ones after the cursor, a page at most; if there are none, `waitMs` for one to come. */
export async function eventsFrom(
  peer: PeerLike,
  timeoutMs: number,
  cursor: Cursor,
  waitMs: number,
): Promise<EventsPage> {
  const request = {...cursor, max: PAGE_MAX, waitMs};
  const {message} = await peer.call(OPS.events, request, {deadlineMs: timeoutMs + waitMs});
  const events = message.events.map(({number, atMs, level, event, fields}) => ({
    number,
    at: new Date(atMs).toISOString(),
    level,
    event,
    fields: JSON.parse(fields) as ClusterEvent['fields'],
  }));
  return {boot: message.boot, events, missed: message.missed};
}

function asking<T>(meta: string, timeoutMs: number, use: (ask: Ask) => Promise<T>): Promise<T> {
  return withMeta(meta, timeoutMs, (peer) =>
    use((cursor, waitMs) => eventsFrom(peer, timeoutMs, cursor, waitMs)),
  );
}

/** All that the active meta server keeps, the oldest first. */
export function fetchEvents(meta: string, timeoutMs: number): Promise<EventsPage> {
  return asking(meta, timeoutMs, async (ask) => {
    const first = await ask({boot: 0, after: 0}, 0);
    let page = first;
    while (page.events.length > 0) {
      page = await ask({boot: first.boot, after: first.events.at(-1)!.number}, 0);
      if (page.boot !== first.boot) break;
      first.events.push(...page.events);
    }
    return first;
  });
}

/** Those that are kept, then each as it comes, for ever; another meta server that becomes the active one is asked then. */
export async function followEvents(
  meta: string,
  timeoutMs: number,
  heard: {events(page: EventsPage): void; note(text: string): void},
): Promise<never> {
  const cursor: Cursor = {boot: 0, after: 0};
  let away = false;
  for (;;) {
    try {
      await asking(meta, timeoutMs, async (ask) => {
        for (;;) {
          const page = await ask(cursor, WAIT_MS);
          if (away) heard.note('a meta server is active again');
          away = false;
          if (cursor.boot !== 0 && page.boot !== cursor.boot)
            heard.note('another list: a meta server has become the active one');
          const same = page.boot === cursor.boot;
          cursor.boot = page.boot;
          cursor.after = page.events.at(-1)?.number ?? (same ? cursor.after : 0);
          heard.events(page);
        }
      });
    } catch (error) {
      const passes = error instanceof CliError && error.exit === EXIT.unavailable;
      const lost = error instanceof Error && error.name === 'Lost';
      // The first time it may be the address that is wrong.
      if (cursor.boot === 0 || !(passes || lost)) throw error;
      if (!away) heard.note(`${error.message}; it is asked again`);
      away = true;
      await delay(AGAIN_MS);
    }
  }
}

const place = ({fields}: ClusterEvent): string => {
  const {group, slot, server} = fields;
  return `slot ${group}.${slot}${server ? ` (${server})` : ''}`;
};

/** What it says to people, without its time. */
export function eventText(one: ClusterEvent): string {
  const {event, fields} = one;
  const {from, why, group, epoch: _, slot: __, server, ...rest} = fields;
  const became = event.slice(event.indexOf('.') + 1);
  if (event.startsWith('slot.') && group !== undefined) {
    const more = fields.state === undefined ? '' : ` ${fields.state}`;
    const said = why && why !== server ? `: ${why}` : '';
    return `${place(one)} ${became}${more}${said}`;
  }
  if (event.startsWith('group.') && from)
    return `group ${group} ${from} -> ${became}${why ? `: ${why}` : ''}`;
  const said = {
    ...(fields.server ? {server: fields.server} : {}),
    ...(group ? {group} : {}),
    ...rest,
  };
  const pairs = Object.entries(said).map(([name, value]) => `${name}=${value}`);
  return [event, ...pairs, ...(why ? [`(${why})`] : [])].join(' ');
}
