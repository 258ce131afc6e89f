/** How a piece of a line looks. Where there is no colour it must be understood without. */
export type Style = 'good' | 'warn' | 'bad' | 'dim' | 'title' | 'accent' | 'chosen';

export interface Span {
  text: string;
  style?: Style;
}

export type Line = readonly Span[];

/** What a terminal can show besides ASCII. */
export interface Glyphs {
  /** From little to much; the first is nothing. */
  spark: string;
  full: string;
  empty: string;
  ready: string;
  away: string;
  recovering: string;
  vacant: string;
  more: string;
  /** Sorted from above, or from below. */
  falling: string;
  rising: string;
}

export const UNICODE: Glyphs = {
  spark: ' ▁▂▃▄▅▆▇█',
  full: '█',
  empty: '░',
  ready: '■',
  away: '✗',
  recovering: '▷',
  vacant: '·',
  more: '…',
  falling: '▾',
  rising: '▴',
};

export const ASCII: Glyphs = {
  spark: ' .,:-=+*#',
  full: '#',
  empty: '.',
  ready: '=',
  away: 'X',
  recovering: '>',
  vacant: '.',
  more: '~',
  falling: 'v',
  rising: '^',
};

export const span = (text: string, style?: Style): Span =>
  style === undefined ? {text} : {text, style};

/** Others choose names of files and clients: nothing in them is for the terminal. */
export const harmless = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, '?');

const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
const MARK = /\p{M}/u;
const PLAIN = /^[\x20-\x7e]*$/;

/** Columns that a text takes. */
export function widthOf(text: string): number {
  if (PLAIN.test(text)) return text.length;
  let width = 0;
  for (const one of text) width += MARK.test(one) ? 0 : WIDE.test(one) ? 2 : 1;
  return width;
}

/** At most so many columns, with a sign where something is missing. */
export function cut(text: string, width: number, {more}: Glyphs): string {
  if (widthOf(text) <= width) return text;
  let kept = '';
  let used = 0;
  for (const one of text) {
    const next = widthOf(one);
    if (used + next > width - 1) break;
    kept += one;
    used += next;
  }
  return width > 0 ? `${kept}${more}` : '';
}

/** A sentence on as many lines as it takes. */
export function wrapped(text: string, width: number): string[] {
  const lines: string[] = [''];
  for (const word of text.split(' ')) {
    const last = lines.at(-1)!;
    if (last === '') lines[lines.length - 1] = word;
    else if (widthOf(last) + 1 + widthOf(word) <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** A line of exactly so many columns, in as few pieces as possible: each costs when it is drawn. */
export function fitted(line: Line, width: number, glyphs: Glyphs): Line {
  const spans: Span[] = [];
  const add = (text: string, style: Style | undefined): void => {
    const last = spans.at(-1);
    // Blanks look the same in any style.
    if (last !== undefined && (last.style === style || text.trim() === '')) last.text += text;
    else if (text !== '') spans.push(span(text, style));
  };
  let left = width;
  for (const {text, style} of line) {
    const shown = cut(text, left, glyphs);
    add(shown, style);
    left -= widthOf(shown);
    if (shown !== text) break;
  }
  if (left > 0) add(' '.repeat(left), undefined);
  return spans;
}

/** Text without its styles and without blanks at its end. */
export const plain = (line: Line): string =>
  line
    .map(({text}) => text)
    .join('')
    .trimEnd();

export function pad(text: string, width: number, right: boolean): string {
  const blanks = ' '.repeat(Math.max(0, width - widthOf(text)));
  return right ? `${blanks}${text}` : `${text}${blanks}`;
}

/** `[####......]` */
export function bar(share: number, width: number, glyphs: Glyphs, style?: Style): Line {
  const full = Math.round(Math.min(1, Math.max(0, share)) * width);
  return [
    span('['),
    span(glyphs.full.repeat(full), style),
    span(glyphs.empty.repeat(width - full), 'dim'),
    span(']'),
  ];
}

/** The last `width` values, the highest of which has the full height. */
export function sparkline(values: readonly number[], width: number, {spark}: Glyphs): string {
  const shown = values.slice(-width);
  const most = Math.max(1, ...shown);
  const steps = [...spark];
  const top = steps.length - 1;
  const drawn = shown.map((value) => steps[value <= 0 ? 0 : Math.ceil((value / most) * top)]);
  return drawn.join('').padStart(width);
}

const UNITS = ['', 'k', 'M', 'G', 'T', 'P'];

/** `4.2M`: four or five columns. Of bytes the steps are 1024. */
export function short(value: number, step: 1000 | 1024 = 1000): string {
  let rest = value;
  let unit = 0;
  while (rest >= step * 0.9995 && unit < UNITS.length - 1) {
    rest /= step;
    unit++;
  }
  const digits =
    rest >= 99.95 || (unit === 0 && Number.isInteger(rest)) ? 0 : rest >= 9.995 ? 0 : 1;
  const text = rest.toFixed(digits).replace(/\.0$/, '');
  return `${text}${unit > 0 && step === 1024 ? UNITS[unit]!.toUpperCase() : UNITS[unit]}`;
}

export const shortBytes = (bytes: number): string => short(bytes, 1024);
