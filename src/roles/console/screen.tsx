import {type Key, Text, useInput} from 'ink';
import type {ReactNode} from 'react';
import {type Line, plain, type Style} from './text.js';

/** As terminals have it since the VT100 (SGR): how it begins, and how it ends. */
const LOOKS: Record<Style, readonly [string, string]> = {
  good: ['32', '39'],
  warn: ['33', '39'],
  bad: ['1;31', '22;39'],
  dim: ['2', '22'],
  title: ['1', '22'],
  accent: ['36', '39'],
  chosen: ['1;36', '22;39'],
};

export interface ScreenProps {
  lines: readonly Line[];
  colour: boolean;
}

const coloured = (line: Line): string =>
  line
    .map(({text, style}) => {
      if (style === undefined) return text;
      const [begin, end] = LOOKS[style];
      return `\x1b[${begin}m${text}\x1b[${end}m`;
    })
    .join('');

/** One text and not one for each line, or for each colour: Ink takes several times as long for those. */
export const Screen = ({lines, colour}: ScreenProps): ReactNode => (
  <Text wrap="truncate">{lines.map(colour ? coloured : plain).join('\n')}</Text>
);

const NAMES = {
  upArrow: 'up',
  downArrow: 'down',
  leftArrow: 'left',
  rightArrow: 'right',
  pageUp: 'pageup',
  pageDown: 'pagedown',
  home: 'home',
  end: 'end',
  return: 'enter',
  escape: 'escape',
  backspace: 'backspace',
  delete: 'backspace',
} as const satisfies Partial<Record<keyof Key, string>>;

/** Keys that come in one piece with others, as over a slow line. */
const CONTROLS: Readonly<Record<string, string>> = {
  '\r': 'enter',
  '\n': 'enter',
  '\t': 'tab',
  '\b': 'backspace',
  '\x7f': 'backspace',
  '\x1b': 'escape',
};

/** What was pressed, each by its name or its letter. */
export function keysOf(input: string, key: Key): string[] {
  if (key.tab) return [key.shift ? 'backtab' : 'tab'];
  for (const [name, called] of Object.entries(NAMES))
    if (key[name as keyof typeof NAMES]) return [called];
  if (key.ctrl || key.meta) return [];
  return [...input].map((one) => CONTROLS[one] ?? one);
}

export function Keys({pressed}: {pressed(key: string): void}): ReactNode {
  useInput((input, key) => {
    for (const one of keysOf(input, key)) pressed(one);
  });
  return null;
}
