// Writes the manual pages, from what the commands say of themselves: `node packaging/man.mjs [FOLDER]`, else man/. One page for cpfs, one for each topic
// and one for each command.
import {mkdirSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {COMMANDS} from '../dist/src/command-table.js';
import {EXIT} from '../dist/src/roles/cli-error.js';
import {PACKAGE, root} from './tree.mjs';

const {description, oclif} = PACKAGE;
/** On every page. */
let version = PACKAGE.version;
const SECTION = 8;
/** From package.json's topics; others are what their commands are. */
const topicText = (id) => oclif.topics[id]?.description ?? `commands of cpfs ${id}`;

/** Text of troff: no control characters at the start of a line, no minus that is taken for a hyphen. */
const plain = (text) =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replace(/^\./gm, '\\&.')
    .trim();
const bold = (text) => `\\fB${plain(text)}\\fR`;
const italic = (text) => `\\fI${plain(text)}\\fR`;
const brief = (text) => text.replace(/\.$/, '');
const sentence = (text) => (/[.?!]$/.test(text) ? text : `${text}.`);

const nameOf = (id) => ['cpfs', ...id.split(':').filter((word) => word !== '')].join('-');
const typed = (id) => `cpfs ${id.replaceAll(':', ' ')}`.trim();
const reference = (id) => `${bold(nameOf(id))}(${SECTION})`;

function page(id, summary, parts) {
  const title = nameOf(id).toUpperCase();
  const body = parts
    .filter(([, lines]) => lines.length > 0)
    .flatMap(([heading, lines]) => [`.SH ${heading}`, ...lines]);
  const head = `.TH "${plain(title)}" "${SECTION}" "" "cpfs ${version}" "cpfs"`;
  const text = [head, '.SH NAME', `${plain(nameOf(id))} \\- ${plain(brief(summary))}`, ...body];
  return `${text.join('\n')}\n`;
}

const entry = (head, text) => ['.TP', head, plain(sentence(text))];

function flagEntry([name, flag]) {
  const value = flag.type === 'boolean' ? '' : ` ${italic((flag.options ?? [name]).join('|'))}`;
  const short = flag.char === undefined ? '' : `${bold(`-${flag.char}`)}, `;
  const notes = [sentence(flag.summary ?? flag.description ?? '')];
  if (flag.required) notes.push('Required.');
  if (flag.multiple) notes.push('May be given several times.');
  const {default: usual, env, exclusive} = flag;
  if (['string', 'number'].includes(typeof usual)) notes.push(`Without it: ${usual}.`);
  if (env !== undefined) notes.push(`The environment variable ${env} stands for it.`);
  if (exclusive?.length > 0)
    notes.push(`Not together with ${exclusive.map((one) => `--${one}`).join(', ')}.`);
  return ['.TP', `${short}${bold(`--${name}`)}${value}`, plain(notes.join(' '))];
}

function argumentEntry([name, argument]) {
  const choice = argument.options === undefined ? '' : ` One of: ${argument.options.join(', ')}.`;
  const text = `${sentence(argument.description ?? name)}${choice}`;
  return entry(italic(name.toUpperCase()), text);
}

const below = (id) => (other) => other !== id && (id === '' || other.startsWith(`${id}:`));
const list = (ids, commands) =>
  ids.flatMap((id) => entry(reference(id), commands.get(id).summary ?? ''));

function seeAlso(id, ids) {
  const above = id.split(':').slice(0, -1).join(':');
  const near = ids.filter((other) => above !== '' && below(above)(other) && other !== id);
  const all = ['', ...(above === '' ? [] : [above]), ...near];
  return [`${all.map(reference).join(', ')}`];
}

function commandPage(id, command, commands) {
  const ids = [...commands.keys()];
  const flags = Object.entries(command.flags ?? {}).filter(([, flag]) => !flag.hidden);
  const args = Object.entries(command.args ?? {});
  const words = args.map(([name, argument]) => {
    const text = italic(name.toUpperCase());
    return argument.required ? text : `[${text}]`;
  });
  const options = flags.length > 0 ? [`[${italic('OPTION')}]...`] : [];
  const examples = command.examples.flatMap((example) => {
    const text = typeof example === 'string' ? example : example.command;
    return ['.PP', '.EX', plain(text.replaceAll('<%= config.bin %>', 'cpfs')), '.EE'];
  });
  const own = command.description ?? command.summary;
  const help = entry(bold('--help'), 'Show what it does');
  return page(id, command.summary, [
    ['SYNOPSIS', [[bold(typed(id)), ...words, ...options].join(' ')]],
    ['DESCRIPTION', own.split('\n').flatMap((line) => ['.PP', plain(sentence(line))])],
    ['ARGUMENTS', args.flatMap(argumentEntry)],
    ['OPTIONS', [...flags.sort().flatMap(flagEntry), ...help]],
    ['COMMANDS', list(ids.filter(below(id)), commands)],
    ['EXAMPLES', examples],
    ['EXIT STATUS', [plain('0 if it did what was asked; see cpfs(8) for the others.')]],
    ['SEE ALSO', seeAlso(id, ids)],
  ]);
}

const topicPage = (id, commands) =>
  page(id, topicText(id), [
    ['SYNOPSIS', [`${bold(typed(id))} ${italic('COMMAND')}`]],
    ['COMMANDS', list([...commands.keys()].filter(below(id)), commands)],
    ['SEE ALSO', [reference('')]],
  ]);

const EXITS = {
  ok: 'it is done',
  failed: 'it failed',
  usage: 'the words are wrong',
  notFound: 'there is no such thing',
  conflict: 'it is in use, or it is there already',
  permission: 'not allowed',
  unavailable: 'nobody answers',
  timeout: 'not in time',
  degraded: 'done, and something is degraded',
  refused: 'refused: it would do harm',
  interrupted: 'interrupted',
};

function exits() {
  return Object.entries(EXIT).flatMap(([name, code]) => {
    if (!(name in EXITS)) throw new Error(`packaging/man.mjs does not say what ${name} is`);
    return entry(bold(String(code)), EXITS[name]);
  });
}

function mainPage(topics, commands) {
  const variables = {
    CPFS_META: 'where the meta servers are, for all commands that have --meta',
    CPFS_LOG: 'how much is logged: debug, info, warn or error',
    CPFS_CACHE_DIR: 'where the native modules of the executable are written to be loaded',
  };
  return page('', description, [
    ['SYNOPSIS', [`${bold('cpfs')} ${italic('COMMAND')} [${italic('OPTION')}]...`]],
    ['TOPICS', topics.flatMap((id) => entry(reference(id), topicText(id)))],
    ['COMMANDS', list([...commands.keys()], commands)],
    ['ENVIRONMENT', Object.entries(variables).flatMap(([name, text]) => entry(bold(name), text))],
    ['EXIT STATUS', exits()],
    ['SEE ALSO', [`${bold('mount.cpfs')}(${SECTION}), ${bold('fstab')}(5)`]],
  ]);
}

export async function writePages(folder, release = PACKAGE.version) {
  version = release;
  const ids = Object.keys(COMMANDS).sort();
  const load = async (id) => [id, (await COMMANDS[id]()).default];
  const commands = new Map(await Promise.all(ids.map(load)));
  const topics = [...new Set(ids.filter((id) => id.includes(':')).map((id) => id.split(':')[0]))];
  rmSync(folder, {recursive: true, force: true});
  mkdirSync(folder, {recursive: true});
  const write = (id, text) => writeFileSync(join(folder, `${nameOf(id)}.${SECTION}`), text);
  write('', mainPage(topics, commands));
  for (const id of topics) if (!commands.has(id)) write(id, topicPage(id, commands));
  for (const [id, command] of commands) write(id, commandPage(id, command, commands));
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  await writePages(process.argv[2] ?? join(root, 'man'));
