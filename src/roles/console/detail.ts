import {formatSize} from '../../core/base/units.js';
import {CODES} from '../health/codes.js';
import {span as time} from '../health/outlook.js';
import type {EventRow, View} from './model.js';
import {fileName, type HoldingRow, panelOf} from './panels.js';
import {operationsOf, type Rate} from './rates.js';
import {headLine, rowLine} from './table.js';
import {
  bar,
  type Glyphs,
  harmless,
  type Line,
  type Style,
  short,
  shortBytes,
  span,
  wrapped,
} from './text.js';
import type {Detail} from './ui.js';

const EVENTS_MAX = 50;

const LABEL = 16;

/** A line for each fact, or more than one if it is long. */
const factsOf =
  (width: number) =>
  (name: string, text: string, style?: Style): Line[] =>
    wrapped(harmless(text), width - LABEL).map((part, i) => [
      span(`  ${i === 0 ? name : ''}`.padEnd(LABEL), 'dim'),
      span(part, style),
    ]);

const heading = (text: string): Line[] => [[], [span(harmless(text), 'title')]];

const rateText = (rate: Rate | null): string =>
  rate === null
    ? 'not known'
    : `read ${shortBytes(rate.readBytes)}B/s, write ${shortBytes(rate.writeBytes)}B/s`;

export function detailLines(view: View, detail: Detail, width: number, glyphs: Glyphs): Line[] {
  switch (detail.what) {
    case 'server':
      return serverLines(view, detail.uuid, width, glyphs);
    case 'client':
      return clientLines(view, detail.id, width, glyphs);
    case 'file':
      return fileLines(view, detail.inode, width, glyphs);
  }
}

function serverLines(view: View, uuid: string, width: number, glyphs: Glyphs): Line[] {
  const fact = factsOf(width);
  const server = view.servers.find((one) => one.uuid === uuid);
  if (server === undefined) return [[span('this server has no slot any more')]];
  const {group, slot, address, state, awaySeconds, left, progress, recoverySeconds, rate} = server;
  const name = `slot ${group}.${slot}`;
  const used = server.totalBytes === 0 ? 0 : server.usedBytes / server.totalBytes;
  const now =
    state === 'away'
      ? `away${awaySeconds === null ? '' : ` for ${time(awaySeconds)}`}`
      : state === 'recovering'
        ? `recovering, ${left} chunks left${recoverySeconds > 0 ? `, about ${time(recoverySeconds)}` : ''}, ${shortBytes(server.recoveryRate)}B/s${server.givesWay ? ', gives way to clients' : ''}`
        : `${state}${server.connected ? '' : ', not connected'}`;
  const lines: Line[] = [
    ...heading(`Server ${uuid.slice(0, 8)}, ${name}`),
    ...fact('address', address),
    ...fact(
      'where',
      [server.domain, server.location].filter((text) => text !== '').join(', ') || '-',
    ),
    ...fact('state', now, state === 'ready' ? 'good' : 'bad'),
    ...(progress === null
      ? []
      : [
          [
            span('  recovered'.padEnd(LABEL), 'dim'),
            ...bar(progress, 30, glyphs, 'warn'),
            span(` ${Math.floor(progress * 100)}%`),
          ],
        ]),
    [
      span('  disk'.padEnd(LABEL), 'dim'),
      ...bar(used, 30, glyphs, used > 0.9 ? 'bad' : 'good'),
      span(` ${formatSize(server.usedBytes)} of ${formatSize(server.totalBytes)}`),
    ],
    ...fact('bad blocks', String(server.badBlocks), server.badBlocks > 0 ? 'bad' : undefined),
    ...fact(
      'traffic',
      `${rateText(rate)}${rate === null ? '' : `, ${short(operationsOf(rate))} op/s`}`,
    ),
    ...fact('ways of I/O', server.io || '-'),
    ...fact(
      'ok to stop',
      `${server.okToStop.ok ? 'yes' : 'no'}: ${server.okToStop.why}`,
      server.okToStop.ok ? 'good' : 'warn',
    ),
  ];
  const found = view.findings.filter(
    ({subject}) => subject === name || subject === `group ${group}`,
  );
  if (found.length > 0) lines.push(...heading('What is wrong'));
  for (const {code, text, subject} of found)
    lines.push(...fact(code, `${subject}: ${text}`, 'warn'), ...fact('', CODES[code].act));
  return [
    ...lines,
    ...eventLines(view, (one) => one.group === group && (one.slot === slot || one.slot === null)),
  ];
}

function clientLines(view: View, id: number, width: number, glyphs: Glyphs): Line[] {
  const fact = factsOf(width);
  const client = view.clients.find((one) => one.id === id);
  if (client === undefined) return [[span(`client ${id} is gone`)]];
  const {name, address, leases, opens, idleMs, rate} = client;
  const calls =
    rate === null
      ? ''
      : `, ${short(rate.calls)} requests/s to servers, ${short(rate.metaCalls)}/s to the meta server`;
  return [
    ...heading(`Client ${id}`),
    ...fact('name', name),
    ...fact('address', address),
    ...fact('heard', `${time(idleMs / 1000)} ago`, idleMs >= 15_000 ? 'bad' : undefined),
    ...fact('holds', `${leases} leases, ${opens} open files`),
    ...fact('traffic', `${rateText(rate)}${calls}`),
    ...fact('end it', `cpfs client evict ${id}`),
    ...holdingLines(view, ({session}) => session === id, width, glyphs),
    ...eventLines(view, (one) => one.session === id),
  ];
}

function fileLines(view: View, inode: number, width: number, glyphs: Glyphs): Line[] {
  const fact = factsOf(width);
  const hot = view.hot.find((one) => one.inode === inode);
  const known = [...view.leases.leases, ...view.locks.locks].find((one) => one.inode === inode);
  return [
    ...heading(fileName(hot?.path ?? known?.path ?? null, inode)),
    ...fact('inode', String(inode)),
    ...fact('read of it', hot === undefined ? 'not much' : `${shortBytes(hot.weight)}B/s`),
    ...fact('where it lies', 'cpfs where PATH, on a mount'),
    ...holdingLines(view, (one) => one.inode === inode, width, glyphs),
  ];
}

function holdingLines(
  view: View,
  mine: (one: HoldingRow) => boolean,
  width: number,
  glyphs: Glyphs,
): Line[] {
  const panel = panelOf('leases');
  const rows = (panel.rows(view) as HoldingRow[]).filter(mine);
  if (rows.length === 0) return [...heading('No leases, no locks')];
  return [
    ...heading('Leases and locks'),
    headLine(panel, width, {column: -1, reverse: false}, glyphs),
    ...rows.map((row) => rowLine(panel, row, width, false, glyphs)),
  ];
}

function eventLines(view: View, mine: (one: EventRow) => boolean): Line[] {
  const found = view.events.filter(mine).slice(-EVENTS_MAX).reverse();
  if (found.length === 0) return [];
  return [
    ...heading('Events'),
    ...found.map(({at, text, level}) => [
      span(`  ${at.slice(11, 19)}      `, 'dim'),
      span(harmless(text), level === 'info' ? undefined : 'warn'),
    ]),
  ];
}

const HELP: readonly (readonly [string, string])[] = [
  ['at the top', 'who is missing, what that puts at risk, when that is over'],
  ['capacity', 'of the disks of all data servers, with redundancy'],
  ['servers', 'what data servers did in a second for others'],
  ['clients', 'what others did for clients'],
  ['meta', 'requests of clients to the meta server; changes it made'],
  ['bears', 'so many more servers of the group may be lost'],
  ['slots', ''],
  ['codes', "what is wrong: 'cpfs explain CODE'"],
  ['Tab, 1 to 6', 'another table; Shift-Tab: back'],
  ['Up, Down', 'another row; PgUp, PgDn, Home, End'],
  ['Enter', 'more of a server, a client or a file; Esc: back'],
  ['/', 'only rows that have these words'],
  ['s, r', 'sort by the next column; the other way round'],
  ['q, Ctrl-C', 'quit'],
];

const CHAOS: readonly (readonly [string, string])[] = [
  ['K, U', 'kill the server under the cursor (SIGKILL); start it again'],
  ['P, G', 'stop it (SIGSTOP); let it go on'],
  ['C, B', 'cut its connections; flip bits in what it stores'],
  ['F, E', 'fill its disk, if it has one of its own; empty it again'],
];

export function helpLines(
  chaos: boolean,
  width: number,
  {ready, away, recovering, vacant}: Glyphs,
): Line[] {
  const fact = factsOf(width);
  const marks = `${ready} ready, ${away} away, ${recovering} recovering and how far, ${vacant} without a server`;
  return [...HELP, ...(chaos ? CHAOS : [])].flatMap(([name, text]) =>
    fact(name, name === 'slots' ? marks : text),
  );
}
