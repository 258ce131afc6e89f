import {cut, type Glyphs, type Line, pad, type Span, type Style, span, widthOf} from './text.js';

export interface Column<R> {
  title: string;
  /** Columns of the terminal; the last column of a table takes what is left. */
  width: number;
  right?: boolean;
  cell(row: R, glyphs: Glyphs, width: number): string | Line;
  style?(row: R): Style | undefined;
  /** How it is sorted; absent: it is not. Text from a to z, numbers from high to low. */
  by?(row: R): number | string;
  /** Shown from this width of the screen on. */
  from?: number;
}

export interface Table<R> {
  columns: readonly Column<R>[];
  key(row: R): string;
  /** What a filter looks through. */
  text(row: R): string;
}

export interface Order {
  column: number;
  reverse: boolean;
}

/** Those that the filter lets through, in order. */
export function arranged<R>(
  {columns, text}: Table<R>,
  rows: readonly R[],
  filter: string,
  {column, reverse}: Order,
): R[] {
  const words = filter
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '');
  const found =
    words.length === 0
      ? [...rows]
      : rows.filter((row) => {
          const all = text(row).toLowerCase();
          return words.every((word) => all.includes(word));
        });
  const by = columns[column]?.by;
  if (by === undefined) return reverse ? found.reverse() : found;
  const keyed = found.map((row) => ({row, key: by(row)}));
  const sign = reverse ? -1 : 1;
  keyed.sort(({key: a}, {key: b}) =>
    typeof a === 'number' && typeof b === 'number'
      ? sign * (b - a)
      : sign * String(a).localeCompare(String(b)),
  );
  return keyed.map(({row}) => row);
}

/** Before each row: which one is chosen, also where there is no colour. */
const GUTTER = 2;
const GAP = 1;

const shownIn = <R>(columns: readonly Column<R>[], width: number): Column<R>[] =>
  columns.filter(({from}) => (from ?? 0) <= width);

function widths<R>(columns: readonly Column<R>[], width: number): number[] {
  const taken = columns.slice(0, -1).reduce((sum, one) => sum + one.width + GAP, GUTTER);
  return columns.map((one, i) =>
    i === columns.length - 1 ? Math.max(one.width, width - taken) : one.width,
  );
}

export function headLine<R>(
  {columns}: Table<R>,
  width: number,
  {column, reverse}: Order,
  glyphs: Glyphs,
): Line {
  const shown = shownIn(columns, width);
  const wide = widths(shown, width);
  const spans: Span[] = [span(' '.repeat(GUTTER))];
  for (const [i, one] of shown.entries()) {
    const sorted = columns[column] === one && one.by !== undefined;
    const mark = sorted ? (reverse ? glyphs.rising : glyphs.falling) : '';
    const text = cut(`${one.title}${mark}`, wide[i]!, glyphs);
    spans.push(span(pad(text, wide[i]!, one.right ?? false), sorted ? 'accent' : 'dim'));
    spans.push(span(' '.repeat(GAP)));
  }
  return spans;
}

export function rowLine<R>(
  {columns}: Table<R>,
  row: R,
  width: number,
  chosen: boolean,
  glyphs: Glyphs,
): Line {
  const shown = shownIn(columns, width);
  const wide = widths(shown, width);
  const spans: Span[] = [chosen ? span('> ', 'chosen') : span('  ')];
  for (const [i, one] of shown.entries()) {
    const cell = one.cell(row, glyphs, wide[i]!);
    if (typeof cell === 'string') {
      const text = pad(cut(cell, wide[i]!, glyphs), wide[i]!, one.right ?? false);
      spans.push(span(text, one.style?.(row) ?? (chosen ? 'title' : undefined)));
    } else {
      spans.push(...cell);
      const used = cell.reduce((sum, {text}) => sum + widthOf(text), 0);
      spans.push(span(' '.repeat(Math.max(0, wide[i]! - used))));
    }
    spans.push(span(' '.repeat(GAP)));
  }
  return spans;
}
