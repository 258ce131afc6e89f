import type {Act} from '../dev/chaos.js';
import type {View} from './model.js';
import {type HoldingRow, PANELS, type PanelId, panelOf} from './panels.js';
import {arranged, type Order} from './table.js';
import {harmless} from './text.js';

/** Keys for what can be done to a server of a dev cluster. */
export const ACTS: Readonly<Record<string, Act>> = {
  K: 'kill',
  P: 'stop',
  G: 'go on',
  C: 'cut',
  B: 'flip bits',
  F: 'fill',
  E: 'free',
  U: 'start',
};

/** A row that is looked at closely. */
export type Detail =
  | {what: 'server'; uuid: string}
  | {what: 'client'; id: number}
  | {what: 'file'; inode: number};

interface Target {
  address: string;
  name: string;
  /** Why it should not be stopped; empty: it may be. */
  risk: string;
}

export interface Ui {
  panel: PanelId;
  /** Key of the row under the cursor; none: the first one. */
  cursors: Partial<Record<PanelId, string>>;
  orders: Partial<Record<PanelId, Order>>;
  filters: Partial<Record<PanelId, string>>;
  /** The filter is being typed. */
  typing: boolean;
  detail: Detail | null;
  /** Lines of a detail, or of the help, that are above the screen. */
  scrolled: number;
  help: boolean;
  /** What is to be done to a server, once it is confirmed. */
  asked: (Target & {act: Act}) | null;
  /** There are acts: it is a dev cluster, and somebody wants to. */
  chaos: boolean;
  /** What became of the last act. */
  note: string;
}

/** What a key asks for besides. */
export type Effect = {do: 'quit'} | {do: 'act'; act: Act; address: string; name: string};

export const START: Ui = {
  panel: 'servers',
  cursors: {},
  orders: {},
  filters: {},
  typing: false,
  detail: null,
  scrolled: 0,
  help: false,
  asked: null,
  chaos: false,
  note: '',
};

const PAGE = 10;
const FILTER_MAX = 60;

export const orderOf = (ui: Ui, id: PanelId): Order => ui.orders[id] ?? panelOf(id).order;

export const rowsOf = (view: View, ui: Ui, id: PanelId): unknown[] =>
  arranged(panelOf(id), panelOf(id).rows(view), ui.filters[id] ?? '', orderOf(ui, id));

/** Where the cursor is among these rows; -1: there are none. */
export function cursorAt(ui: Ui, id: PanelId, rows: readonly unknown[]): number {
  const key = ui.cursors[id];
  if (rows.length === 0) return -1;
  if (key === undefined) return 0;
  const {key: keyOf} = panelOf(id);
  return Math.max(
    0,
    rows.findIndex((row) => keyOf(row) === key),
  );
}

const STEPS: Readonly<Record<string, number>> = {
  up: -1,
  k: -1,
  down: 1,
  j: 1,
  pageup: -PAGE,
  pagedown: PAGE,
  home: Number.NEGATIVE_INFINITY,
  end: Number.POSITIVE_INFINITY,
};

function moved(ui: Ui, view: View, step: number): Ui {
  const rows = rowsOf(view, ui, ui.panel);
  if (rows.length === 0) return ui;
  const at = Math.min(rows.length - 1, Math.max(0, cursorAt(ui, ui.panel, rows) + step));
  return {...ui, cursors: {...ui.cursors, [ui.panel]: panelOf(ui.panel).key(rows[at])}};
}

function turned(ui: Ui, by: number): Ui {
  const at = PANELS.indexOf(ui.panel) + by + PANELS.length;
  return {...ui, panel: PANELS[at % PANELS.length]!};
}

/** The next column of this panel by which one can sort; the last reversed order goes. */
function sorted(ui: Ui): Ui {
  const {columns} = panelOf(ui.panel);
  let {column} = orderOf(ui, ui.panel);
  do column = (column + 1) % columns.length;
  while (columns[column]!.by === undefined);
  return {...ui, orders: {...ui.orders, [ui.panel]: {column, reverse: false}}};
}

function typed(ui: Ui, key: string): Ui {
  const text = ui.filters[ui.panel] ?? '';
  const become = (filter: string): Ui => ({...ui, filters: {...ui.filters, [ui.panel]: filter}});
  if (key === 'enter') return {...ui, typing: false};
  if (key === 'escape') return {...become(''), typing: false};
  if (key === 'backspace') return become([...text].slice(0, -1).join(''));
  const printable = [...key].length === 1 && harmless(key) === key;
  return printable && text.length < FILTER_MAX ? become(text + key) : ui;
}

function chosen(ui: Ui, view: View): unknown {
  const rows = rowsOf(view, ui, ui.panel);
  return rows[cursorAt(ui, ui.panel, rows)];
}

function drilled(ui: Ui, view: View): Ui {
  const row = chosen(ui, view);
  const detail = row === undefined ? null : detailOf(ui.panel, row);
  return detail === null ? ui : {...ui, detail, scrolled: 0};
}

function detailOf(panel: PanelId, row: unknown): Detail | null {
  if (panel === 'servers') return {what: 'server', uuid: panelOf(panel).key(row)};
  if (panel === 'clients') return {what: 'client', id: Number(panelOf(panel).key(row))};
  if (panel === 'files') return {what: 'file', inode: Number(panelOf(panel).key(row))};
  if (panel === 'leases') return {what: 'file', inode: (row as HoldingRow).inode};
  return null;
}

/** The server that is meant: the one looked at closely, or under the cursor. */
function meant(ui: Ui, view: View): Target | null {
  const {detail} = ui;
  if (detail !== null && detail.what !== 'server') return null;
  if (detail === null && ui.panel !== 'servers') return null;
  const uuid = detail?.uuid ?? panelOf('servers').key(chosen(ui, view) ?? {uuid: ''});
  const server = view.servers.find((one) => one.uuid === uuid);
  if (server === undefined) return null;
  const {address, group, slot, okToStop} = server;
  return {address, name: `slot ${group}.${slot}`, risk: okToStop.ok ? '' : okToStop.why};
}

/** What becomes of the screen, and what else is to be done. `view` null: nothing is known yet. */
export function pressed(ui: Ui, key: string, view: View | null): [Ui, Effect?] {
  if (ui.asked !== null) {
    const {asked} = ui;
    const cleared = {...ui, asked: null};
    return key === 'y'
      ? [
          {...cleared, note: `${asked.act} ${asked.name} ...`},
          {do: 'act', ...asked},
        ]
      : [{...cleared, note: ''}];
  }
  if (ui.typing) return [typed(ui, key)];
  if (key === 'q') return [ui, {do: 'quit'}];
  if (key === '?') return [{...ui, help: !ui.help, scrolled: 0}];
  if (ui.help || ui.detail !== null) {
    if (['escape', 'backspace', 'left', 'h', 'enter'].includes(key))
      return [ui.help ? {...ui, help: false} : {...ui, detail: null, scrolled: 0}];
    const step = STEPS[key];
    if (step !== undefined)
      return [{...ui, scrolled: Number.isFinite(step) ? Math.max(0, ui.scrolled + step) : 0}];
  }
  if (view === null) return [ui];
  const act = ACTS[key];
  if (ui.chaos && act !== undefined && !ui.help) {
    const server = meant(ui, view);
    return [server === null ? ui : {...ui, asked: {act, ...server}}];
  }
  if (ui.help || ui.detail !== null) return [ui];
  return [onTables(ui, key, view)];
}

function onTables(ui: Ui, key: string, view: View): Ui {
  const step = STEPS[key];
  if (step !== undefined) return moved(ui, view, step);
  switch (key) {
    case 'tab':
    case 'right':
    case 'l':
      return turned(ui, 1);
    case 'backtab':
    case 'left':
    case 'h':
      return turned(ui, -1);
    case 's':
      return sorted(ui);
    case 'r': {
      const {column, reverse} = orderOf(ui, ui.panel);
      return {...ui, orders: {...ui.orders, [ui.panel]: {column, reverse: !reverse}}};
    }
    case '/':
      return {...ui, typing: true};
    case 'escape':
      return {...ui, filters: {...ui.filters, [ui.panel]: ''}, note: ''};
    case 'enter':
      return drilled(ui, view);
    default: {
      const panel = PANELS[Number(key) - 1];
      return panel === undefined ? ui : {...ui, panel};
    }
  }
}
