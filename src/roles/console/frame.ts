import {CODES, type Severity} from '../health/codes.js';
import {span as time} from '../health/outlook.js';
import {detailLines, helpLines} from './detail.js';
import type {View} from './model.js';
import {capacityLine, PANELS, type PanelId, panelOf} from './panels.js';
import {headLine, rowLine} from './table.js';
import {
  fitted,
  type Glyphs,
  harmless,
  type Line,
  type Style,
  short,
  shortBytes,
  span,
  sparkline,
  wrapped,
} from './text.js';
import {cursorAt, orderOf, rowsOf, type Ui} from './ui.js';

/** How it is with the meta server. */
export interface Link {
  meta: string;
  /** Since what is shown was true; null: there was no answer yet. */
  ageMs: number | null;
  /** Why there is no answer now; empty: there is. */
  why: string;
}

export interface Scene {
  /** null: nothing is known yet. */
  view: View | null;
  link: Link;
  ui: Ui;
  width: number;
  /** null: as many lines as there are to show. */
  height: number | null;
  glyphs: Glyphs;
  /** What a workload says of itself; empty: there is none. */
  workload: string;
}

/** Less than this says nothing. */
export const LEAST = {width: 40, height: 10};
/** Without an answer for so long what is shown is called old. */
const OLD_MS = 3_000;
/** Of each table in what is printed once. */
const ROWS_MAX = 50;

const SEVERITY: Record<Severity, Style> = {error: 'bad', warning: 'warn', note: 'accent'};

/** The whole screen. */
export function frameOf(scene: Scene): Line[] {
  const {view, ui, width, height, glyphs} = scene;
  const head = [...linkLines(scene), ...(view === null ? [] : glance(view, width, glyphs))];
  const foot = footLines(scene);
  const room = height === null ? null : height - head.length - foot.length;
  const body =
    ui.help || view === null || ui.detail !== null
      ? scrolled(bodyOf(scene), room, ui.scrolled)
      : [...rates(view, width, glyphs), ...tables(scene, view, room)];
  const lines = [...head, ...body];
  if (height !== null) {
    lines.length = Math.min(lines.length, Math.max(0, height - foot.length));
    while (lines.length < height - foot.length) lines.push([]);
  }
  const all = [...lines, ...foot].map((line) => fitted(line, width, glyphs));
  return height === null ? all : all.slice(0, height);
}

function bodyOf({view, ui, width, glyphs, link}: Scene): Line[] {
  if (ui.help) return helpLines(ui.chaos, width, glyphs);
  if (view !== null && ui.detail !== null) return detailLines(view, ui.detail, width, glyphs);
  return link.why === '' ? [[span(`asking ${harmless(link.meta)} ...`, 'dim')]] : [];
}

const scrolled = (lines: readonly Line[], room: number | null, by: number): Line[] =>
  room === null ? [...lines] : lines.slice(Math.min(by, Math.max(0, lines.length - room)));

function linkLines({link: {ageMs, why}, view, width}: Scene): Line[] {
  if (why === '' && (ageMs === null || ageMs < OLD_MS)) return [];
  // What is to be done about it comes after the reason, and is for those who start something.
  const reason = why === '' ? 'it takes long' : harmless(why.split('; ')[0]!);
  const age = ageMs === null ? null : time(ageMs / 1000);
  const text = age === null ? reason : `for ${age}: ${reason}`;
  const label = ' NO ANSWER  ';
  const said = wrapped(text, width - label.length).slice(0, GLANCE_MAX);
  const old = view === null || age === null ? '' : `what is below is ${age} old; `;
  return [
    ...said.map((part, i) => [span(i === 0 ? label : ' '.repeat(LABEL), 'bad'), span(part)]),
    [span(' '.repeat(LABEL)), span(`${old}it is asked again each second`, 'warn')],
  ];
}

const LABEL = 12;
/** The sentences that matter most are not cut, unless many groups have failed. */
const GLANCE_MAX = 2;

/** Health in words; what is missing, what is at risk, and when that is over. */
export function glance(view: View, width: number, glyphs: Glyphs): Line[] {
  const {findings, health, outlook, cluster, at} = view;
  const style: Style = health === 'ok' ? 'good' : health === 'warning' ? 'warn' : 'bad';
  const first = findings[0];
  const more = findings.length > 1 ? `, and ${findings.length - 1} more` : '';
  const said =
    first === undefined
      ? 'all is well'
      : `${CODES[first.code].title} (${harmless(first.subject)})${more}`;
  const left: Line = [
    span(` ${health.toUpperCase()} `, style),
    span(' '),
    span(said, first === undefined ? undefined : SEVERITY[first.severity]),
  ];
  const right = `${harmless(cluster).slice(0, 8)}  ${at.slice(11, 19)}Z`;
  const room = width - right.length - 1;
  const lines: Line[] = [[...fitted(left, room, glyphs), span(' '), span(right, 'dim')]];
  const {missing, risk, safeAgain} = outlook;
  if (missing.length > 0) lines.push(missingLine(outlook, width, glyphs));
  const told = (label: string, text: string): Line[] =>
    wrapped(harmless(text), width - LABEL)
      .slice(0, GLANCE_MAX)
      .map((part, i) => [span((i === 0 ? label : '').padEnd(LABEL), 'dim'), span(part, 'title')]);
  if (risk !== '') lines.push(...told('at risk:', risk));
  if (safeAgain !== '') lines.push(...told('safe again:', safeAgain));
  if (missing.length === 0 && risk === '' && outlook.bears !== null)
    lines.push([
      span('at risk:'.padEnd(LABEL), 'dim'),
      span(
        outlook.bears > 0
          ? `nothing; every group bears the loss of ${outlook.bears === 1 ? 'a server' : `${outlook.bears} servers`}`
          : 'there is no redundancy',
      ),
    ]);
  return lines;
}

function missingLine({missing}: View['outlook'], width: number, glyphs: Glyphs): Line {
  const label = 'missing:'.padEnd(LABEL);
  // Who is away matters more than who is coming back.
  const sorted = [...missing].sort(
    (a, b) => Number(b.state === 'away') - Number(a.state === 'away'),
  );
  const named = sorted.map(
    ({group, slot, address, domain, state, awaySeconds, left, secondsLeft, byIntent}) => {
      const where = `${group}.${slot} ${harmless(address)}${domain === '' ? '' : ` (${harmless(domain)})`}`;
      if (state === 'away')
        return `${where} away${awaySeconds === null ? '' : ` ${time(awaySeconds)}`}${byIntent ? ', as was said before' : ''}`;
      if (left === 0) return `${where} is back, and recovers`;
      return `${where} ${left} chunks left${secondsLeft > 0 ? `, ${time(secondsLeft)}` : ''}`;
    },
  );
  const shown: string[] = [];
  let used = label.length;
  for (const [i, text] of named.entries()) {
    const rest = named.length - i - 1;
    const needs = text.length + 2 + (rest > 0 ? `and ${rest} more`.length : 0);
    if (i > 0 && used + needs > width) {
      shown.push(`and ${named.length - i} more`);
      break;
    }
    shown.push(text);
    used += text.length + 2;
  }
  return fitted([span(label, 'dim'), span(shown.join('; '), 'bad')], width, glyphs);
}

/** Capacity, and what each role does. */
function rates(view: View, width: number, glyphs: Glyphs): Line[] {
  const {history, traffic} = view;
  const cell = Math.floor((width - 9) / 3);
  const one = (
    name: string,
    values: readonly number[],
    now: number | null,
    bytes: boolean,
  ): Line => {
    const value = now === null ? '-' : `${(bytes ? shortBytes : short)(now)}${bytes ? 'B' : ''}/s`;
    const points = Math.max(4, Math.min(60, cell - name.length - 10));
    return [
      span(`${name} `, 'dim'),
      span(sparkline(values, points, glyphs), 'accent'),
      span(` ${value.padEnd(8)}`),
    ];
  };
  const row = (label: string, ...cells: Line[]): Line => [
    span(label.padEnd(9), 'dim'),
    ...cells.flatMap((part) => fitted(part, cell, glyphs)),
  ];
  const {servers = null, clients = null, changes = null} = traffic ?? {};
  const operations = servers === null ? null : servers.reads + servers.writes + servers.syncs;
  return [
    capacityLine(view, width, glyphs),
    row(
      'servers',
      one('read', history.read, servers?.readBytes ?? null, true),
      one('write', history.written, servers?.writeBytes ?? null, true),
      one('op', history.operations, operations, false),
    ),
    row(
      'clients',
      one('read', history.clientRead, clients?.readBytes ?? null, true),
      one('write', history.clientWritten, clients?.writeBytes ?? null, true),
      one('op', history.clientCalls, clients?.calls ?? null, false),
    ),
    row(
      'meta',
      one('op', history.metaCalls, clients?.metaCalls ?? null, false),
      one('change', history.metaChanges, changes, false),
    ),
  ];
}

/** What those have that are not looked at, if there is room: the most needed ones first. */
const OTHERS: readonly PanelId[] = ['groups', 'events', 'clients', 'servers', 'files', 'leases'];
const OTHERS_LEAST = 2;

/** How many rows each table shows; its line of titles comes on top. */
function shares(
  counts: ReadonlyMap<PanelId, number>,
  focus: PanelId,
  room: number,
): Map<PanelId, number> {
  const others = OTHERS.filter((id) => id !== focus && counts.get(id)! > 0);
  const least = (id: PanelId): number => Math.min(OTHERS_LEAST, counts.get(id)!);
  const reserved = others.slice(0, 3).reduce((sum, id) => sum + 1 + least(id), 0);
  const given = new Map<PanelId, number>();
  const wanted = Math.max(1, counts.get(focus)!);
  const first = Math.max(Math.min(3, room - 1), Math.min(wanted, room - 1 - reserved));
  given.set(focus, Math.max(0, first));
  let left = room - 1 - first;
  for (const id of others) {
    const rows = Math.min(least(id), left - 1);
    if (rows < 1) continue;
    given.set(id, rows);
    left -= rows + 1;
  }
  // What is left goes to whoever has more, the focus first.
  for (const id of [focus, ...others]) {
    const has = given.get(id);
    if (has === undefined) continue;
    const more = Math.min(left, counts.get(id)! - has);
    if (more <= 0) continue;
    given.set(id, has + more);
    left -= more;
  }
  return given;
}

function tables(scene: Scene, view: View, room: number | null): Line[] {
  const {ui, width, glyphs} = scene;
  const rows = new Map(PANELS.map((id) => [id, rowsOf(view, ui, id)]));
  const lines: Line[] = room === null ? [] : [tabs(view, ui, rows)];
  const counts = new Map(PANELS.map((id) => [id, rows.get(id)!.length]));
  const left = room === null ? null : room - RATE_LINES - lines.length;
  const given =
    left === null
      ? new Map(PANELS.map((id) => [id, Math.min(ROWS_MAX, counts.get(id)!)]))
      : shares(counts, ui.panel, left);
  for (const id of PANELS) {
    const count = given.get(id);
    if (count === undefined || (count === 0 && id !== ui.panel)) continue;
    lines.push(...tableLines(scene, id, rows.get(id)!, count, room !== null && id === ui.panel));
  }
  return lines.map((line) => fitted(line, width, glyphs));
}

const RATE_LINES = 4;

function tableLines(
  {ui, width, glyphs}: Scene,
  id: PanelId,
  rows: readonly unknown[],
  count: number,
  focused: boolean,
): Line[] {
  const panel = panelOf(id);
  const at = focused ? cursorAt(ui, id, rows) : -1;
  const from = Math.max(0, Math.min(at - Math.floor(count / 2), rows.length - count));
  const head = headLine(panel, width, orderOf(ui, id), glyphs);
  return [
    head,
    ...rows
      .slice(from, from + count)
      .map((row, i) => rowLine(panel, row, width, focused && from + i === at, glyphs)),
  ];
}

function tabs(view: View, ui: Ui, rows: ReadonlyMap<PanelId, readonly unknown[]>): Line {
  const totals: Partial<Record<PanelId, number>> = {leases: view.leases.total + view.locks.total};
  return PANELS.flatMap((id): Line => {
    const filter = ui.filters[id] ?? '';
    const count =
      filter === '' ? (totals[id] ?? rows.get(id)!.length) : `${rows.get(id)!.length} /${filter}`;
    const text = `${panelOf(id).title} ${count}`;
    return id === ui.panel ? [span(`[${text}]`, 'chosen')] : [span(` ${text} `, 'dim')];
  });
}

/** What may lose something where nothing more may be lost. */
const RISKY: ReadonlySet<string> = new Set(['kill', 'stop', 'flip bits']);

function footLines({ui, height, workload, width}: Scene): Line[] {
  if (height === null) return [];
  const lines: Line[] = [];
  if (workload !== '') lines.push([span('workload: ', 'dim'), span(workload)]);
  if (ui.note !== '') lines.push([span(harmless(ui.note), 'accent')]);
  const {asked} = ui;
  if (asked !== null) {
    const {act, name, address, risk} = asked;
    if (risk !== '' && RISKY.has(act)) lines.push([span(harmless(`not ok: ${risk}`), 'bad')]);
    return [...lines, [span(`${act} ${name} (${address})? y: yes, any other key: no`, 'warn')]];
  }
  if (ui.typing)
    return [
      ...lines,
      [
        span('filter: '),
        span(`${ui.filters[ui.panel] ?? ''}_`, 'title'),
        span('   Enter keeps it, Esc takes it away', 'dim'),
      ],
    ];
  const keys: [string, string][] =
    ui.help || ui.detail !== null
      ? [
          ['Esc', 'back'],
          ['Up/Down', 'scroll'],
          ['q', 'quit'],
        ]
      : [
          ['Tab', 'table'],
          ['Up/Down', 'row'],
          ['Enter', 'more'],
          ['/', 'filter'],
          ['s', 'sort'],
          ['r', 'reverse'],
          ['?', 'help'],
          ['q', 'quit'],
        ];
  if (ui.chaos && !ui.help && width >= 100) keys.push(['K U P G C B F E', 'chaos: see ?']);
  lines.push(
    keys.flatMap(([key, what], i) => [
      span(i === 0 ? '' : '  '),
      span(key, 'chosen'),
      span(` ${what}`),
    ]),
  );
  return lines;
}
