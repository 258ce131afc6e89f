// Goal: what `cpfs top` shows at each stage of the loss of a server, on a small terminal and a large one, with colours and without, is what somebody
// has looked at. Method: looks by hand, drawn by Ink to a stdout that is none; top-*.txt have the frames (CPFS_REWRITE=1 rewrites them: read the
// difference). Of colours the file has the sequences of the terminal, with ^ for Escape.
import {existsSync, readFileSync, writeFileSync} from 'node:fs';
import {describe, expect, test} from '@jest/globals';

process.env.FORCE_COLOR = '1';
process.env.NODE_ENV = 'production';

import {frameOf, type Scene} from '../../src/roles/console/frame.js';
import {Model, type View} from '../../src/roles/console/model.js';
import {ASCII, type Line, plain, UNICODE} from '../../src/roles/console/text.js';
import {pressed, START, type Ui} from '../../src/roles/console/ui.js';
import {setSlot} from '../support/status-model.js';
import {Looks} from '../support/top-looks.js';

const META = '10.0.0.1:7400';

function sameAsKept(name: string, text: string): void {
  const file = new URL(`../../../test/transcript/top-${name}.txt`, import.meta.url);
  if (process.env.CPFS_REWRITE === '1') writeFileSync(file, text);
  expect(text).toBe(existsSync(file) ? readFileSync(file, 'utf8') : '');
}

async function drawn(lines: readonly Line[], width: number, colour: boolean): Promise<string> {
  const {renderToString} = await import('ink');
  const {createElement} = await import('react');
  const {Screen} = await import('../../src/roles/console/screen.js');
  const text = renderToString(createElement(Screen, {lines, colour}), {columns: width});
  return text.replaceAll('\x1b', '^');
}

const press = (ui: Ui, view: View, ...keys: string[]): Ui =>
  keys.reduce((now, key) => pressed(now, key, view)[0], ui);

/** What a person sees while a server dies, comes back and recovers. */
class Story {
  readonly looks: Looks;
  readonly #model = new Model(1000);
  view: View;

  constructor(groups = 1, slots = 5) {
    this.looks = new Looks(groups, slots);
    this.view = this.look();
  }

  look(times = 1): View {
    for (; times > 0; times--) {
      const {look, at} = this.looks.next();
      this.view = this.#model.take(look, at);
    }
    return this.view;
  }

  scene(width: number, height: number, more: Partial<Scene> = {}): Line[] {
    const link = {meta: META, ageMs: 0, why: ''};
    const scene = {view: this.view, link, ui: START, width, height, glyphs: UNICODE, workload: ''};
    return frameOf({...scene, ...more});
  }
}

const framed = (title: string, lines: readonly Line[]): string =>
  [`--- ${title}`, ...lines.map(plain), ''].join('\n');

const SIZES = [
  [80, 24],
  [160, 50],
] as const;

describe('frames', () => {
  test.each(SIZES)('a server dies, comes back and recovers: %dx%d', (width, height) => {
    const story = new Story();
    const {looks} = story;
    const all: string[] = [];
    const show = (title: string, more: Partial<Scene> = {}) =>
      all.push(framed(title, story.scene(width, height, more)));
    story.look(30);
    show('all is well');
    setSlot(looks.status, 1, 2, {state: 'away', connected: false, awaySeconds: 12});
    looks.status.servers[2]!.connected = false;
    looks.happens('warn', 'slot.away', {
      group: 1,
      slot: 2,
      server: '10.0.0.13:7401',
      why: 'no heartbeat',
    });
    looks.happens('warn', 'group.degraded', {group: 1, from: 'ready', why: 'slot 2 is away'});
    story.look(5);
    show('a server has died');
    const server = press(press(START, story.view, 'home'), story.view, 'enter');
    show('more of it', {ui: server});
    setSlot(looks.status, 1, 2, {state: 'recovering', connected: true, awaySeconds: null});
    Object.assign(looks.status.servers[2]!, {connected: true, left: 200, recoverySeconds: 0});
    looks.happens('info', 'slot.recovering', {group: 1, slot: 2, server: '10.0.0.13:7401'});
    story.look(2);
    Object.assign(looks.status.servers[2]!, {left: 80, recoverySeconds: 200, recoveryRate: 1e8});
    story.look(2);
    show('it is back, and recovers');
    setSlot(looks.status, 1, 4, {state: 'away', connected: false, awaySeconds: 3});
    looks.happens('error', 'group.failed', {group: 1, from: 'recovering', why: 'slot 4 is away'});
    story.look(2);
    show('another one dies before');
    show('the meta server does not answer', {
      link: {meta: META, ageMs: 14_000, why: 'the meta server 10.0.0.1:7400 cannot be reached'},
    });
    sameAsKept(`${width}x${height}`, all.join('\n'));
  });

  test('tables, details, filter, help, and what is asked before something is done', () => {
    const story = new Story(60);
    story.look(10);
    const {view} = story;
    const chaos = {...START, chaos: true};
    const shown: [string, Ui][] = [
      ['300 servers', START],
      ['far down', press(START, view, 'end', 'pageup')],
      ['groups', press(START, view, 'backtab')],
      ['sorted by address, the other way round', press(START, view, '1', '2', ...'ssssss', 'r')],
      ['those of group 42', press(START, view, '/', ...'42.', 'enter')],
      ['the filter is being typed', press(START, view, '/', ...'host29')],
      ['nothing has this', press(START, view, '/', ...'nonsense', 'enter')],
      ['clients', press(START, view, 'tab')],
      ['a client', press(START, view, 'tab', 'enter')],
      ['a file', press(START, view, 'tab', 'tab', 'enter')],
      ['leases and locks', press(START, view, '5')],
      ['help', press(chaos, view, '?')],
      ['a server is to be killed', press(chaos, view, 'down', 'K')],
    ];
    const frames = shown.map(([title, ui]) => framed(title, story.scene(80, 24, {ui})));
    const ascii = framed('ASCII', story.scene(80, 24, {glyphs: ASCII}));
    const nothing = framed('nothing is known yet', story.scene(80, 24, {view: null}));
    sameAsKept('tables', [...frames, ascii, nothing].join('\n'));
  });
});

test('colours are for what is not well; without them the frame says the same', async () => {
  const story = new Story();
  setSlot(story.looks.status, 1, 2, {state: 'away', connected: false, awaySeconds: 12});
  story.look(3);
  const lines = story.scene(80, 24);
  const coloured = await drawn(lines, 80, true);
  const bare = await drawn(lines, 80, false);
  expect(coloured).toContain('^[31m');
  expect(bare).not.toContain('^');
  expect(coloured.replaceAll(/\^\[[\d;]*m/g, '').replaceAll(/ +$/gm, '')).toBe(
    bare.replaceAll(/ +$/gm, ''),
  );
  sameAsKept('colours', `${coloured}\n`);
});

test('no line is longer than the screen, whatever its size; names of others are harmless', () => {
  const story = new Story(3);
  story.looks.status.hot[0]!.path = '/\x1b[2Jbad\nname\u202e/漢字漢字漢字/é';
  story.looks.status.sessions[0]!.name = '\x1b]0;title\x07';
  story.look(3);
  for (const width of [40, 57, 80, 131, 200]) {
    for (const height of [10, 17, 24, 60]) {
      for (const keys of [[], ['4'], ['4', 'enter'], ['3', 'enter'], ['?']]) {
        const ui = press(START, story.view, ...keys);
        const lines = story.scene(width, height, {ui});
        expect(lines.length).toBe(height);
        for (const line of lines) {
          const text = line.map((one) => one.text).join('');
          expect(text).not.toMatch(/[\p{Cc}\u202e]/u);
        }
      }
    }
  }
});
