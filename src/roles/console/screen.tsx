import {Box, type Key, Text, type TextProps, useInput} from 'ink';
import {createElement, memo, type ReactNode} from 'react';
import type {Line, Style} from './text.js';

const LOOKS: Record<Style, TextProps> = {
  good: {color: 'green'},
  warn: {color: 'yellow'},
  bad: {color: 'red', bold: true},
  dim: {dimColor: true},
  title: {bold: true},
  accent: {color: 'cyan'},
  chosen: {color: 'cyan', bold: true},
};

export interface ScreenProps {
  lines: readonly Line[];
  colour: boolean;
}

interface RowProps {
  line: Line;
  colour: boolean;
}

const sameLine = (a: RowProps, b: RowProps): boolean =>
  a.colour === b.colour &&
  a.line.length === b.line.length &&
  a.line.every(({text, style}, i) => text === b.line[i]!.text && style === b.line[i]!.style);

/** Drawn again only when it looks different. */
const Row = memo(function Row({line, colour}: RowProps): ReactNode {
  if (!colour) return <Text wrap="truncate">{line.map(({text}) => text).join('') || ' '}</Text>;
  const spans = line.map(({text, style}) =>
    createElement(Text, style === undefined ? {} : LOOKS[style], text),
  );
  return createElement(Text, {wrap: 'truncate'}, ...spans);
}, sameLine);

/** Lines have their places and no names: children by position. */
export const Screen = ({lines, colour}: ScreenProps): ReactNode =>
  createElement(
    Box,
    {flexDirection: 'column'},
    ...lines.map((line) => createElement(Row, {line, colour})),
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

/** What was pressed, each by its name or its letter; pasted text comes as its letters. */
export function keysOf(input: string, key: Key): string[] {
  if (key.tab) return [key.shift ? 'backtab' : 'tab'];
  for (const [name, called] of Object.entries(NAMES))
    if (key[name as keyof typeof NAMES]) return [called];
  if (key.ctrl || key.meta) return [];
  return [...input];
}

export function Keys({pressed}: {pressed(key: string): void}): ReactNode {
  useInput((input, key) => {
    for (const one of keysOf(input, key)) pressed(one);
  });
  return null;
}
