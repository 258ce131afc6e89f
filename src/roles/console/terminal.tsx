import {render} from 'ink';
import {Keys, Screen} from './screen.js';
import type {Line} from './text.js';

export interface Shown {
  colour: boolean;
  lines(width: number, height: number): readonly Line[];
  pressed(key: string): void;
}

export interface Terminal {
  /** What has changed is written, line by line. */
  draw(): void;
  /** Gives the terminal back as it was. May be called again. */
  close(): void;
  /** Resolves when it is given back, for whatever reason. */
  closed: Promise<unknown>;
}

/** Resolves when what Ink computes its layout with can be used: at once, but in the executable (packaging/bundle.mjs). */
const layoutReady = (): Promise<void> => Promise.resolve();

/** Takes the terminal of this process, which must be one. */
export async function openTerminal({colour, lines, pressed}: Shown): Promise<Terminal> {
  await layoutReady();
  const {stdout} = process;
  const tree = () => (
    <>
      <Keys pressed={pressed} />
      <Screen lines={lines(stdout.columns, stdout.rows)} colour={colour} />
    </>
  );
  const ink = render(tree(), {
    alternateScreen: true,
    incrementalRendering: true,
    // A continuous integration has a terminal, too, when it tests one.
    interactive: true,
    patchConsole: false,
    exitOnCtrlC: true,
    maxFps: 10,
  });
  const draw = () => ink.rerender(tree());
  const close = () => ink.unmount();
  const signals = ['SIGTERM', 'SIGHUP', 'SIGINT'] as const;
  stdout.on('resize', draw);
  // The terminal is gone: nobody looks any more.
  stdout.on('error', close);
  for (const name of signals) process.on(name, close);
  const closed = ink.waitUntilExit().finally(() => {
    stdout.off('resize', draw);
    for (const name of signals) process.off(name, close);
  });
  return {draw, close, closed};
}
