import {envOf, flagOf, KEYS, type Key, settingOf} from './schema.js';
import {formatValue} from './values.js';

const SECTIONS: Record<string, string> = {
  client: 'Clients: commands, mounts, and data servers towards the meta servers',
  log: 'Logs of servers and mounts',
  server: 'Every server',
  meta: 'Meta server (`cpfs meta start`)',
  data: 'Data server (`cpfs data start`)',
  mount: 'Mount (`cpfs mount`)',
};

const sectionOf = (key: Key): string => key.slice(0, key.indexOf('.'));
const sections = (): [string, Key[]][] =>
  Object.keys(SECTIONS).map((name) => [name, KEYS.filter((key) => sectionOf(key) === name)]);

/** Which values it may have, in words. */
function values(key: Key): string {
  const setting = settingOf(key);
  const {type, options, min, max} = setting;
  if (options !== undefined) return options.join(', ');
  if (type === 'boolean') return 'on, off';
  if (type === 'size' || type === 'time' || type === 'integer')
    return `${type === 'integer' ? 'number' : type}, ${formatValue(setting, min ?? 0)} to ${formatValue(setting, max ?? 0)}`;
  const names: Record<string, string> = {
    text: `text, at most ${max} characters`,
    path: 'path',
    address: 'HOST:PORT',
    admin: 'off, on, HOST:PORT',
    metas: 'names of meta servers',
    coordinator: 'URL',
    scheme: 'DATA+REDUNDANCY',
    location: 'words with slashes between',
    levels: 'LEVEL[,CATEGORY=LEVEL…]',
  };
  return names[type]!;
}

function byDefault(key: Key): string {
  const setting = settingOf(key);
  const given = setting.default === null ? '' : `\`${formatValue(setting, setting.default)}\``;
  if (setting.unset === undefined) return given;
  return given === '' ? setting.unset : `${given}; ${setting.unset}`;
}

const onCommandLine = (key: Key): string => {
  const {option} = settingOf(key);
  return option === undefined ? `\`--${flagOf(key)}\`` : `\`-o ${option}\``;
};

const table = (keys: readonly Key[]): string[] => [
  '| key | values | default | command line | environment | |',
  '| --- | --- | --- | --- | --- | --- |',
  ...keys.map((key) => {
    const {summary, live} = settingOf(key);
    const reload = live === true ? ' *Taken over at SIGHUP.*' : '';
    const cells = [
      `\`${key}\``,
      values(key),
      byDefault(key),
      onCommandLine(key),
      `\`${envOf(key)}\``,
      `${summary}.${reload}`,
    ];
    return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  }),
];

const PRECEDENCE = `Each setting can be given in several places. The first of these that has it holds:

1. the flag of the command (\`--listen\`), or the option of a mount (\`-o cache=attr\`);
2. the environment variable; an empty one is none;
3. the file that \`--config FILE\` names, or \`CPFS_CONFIG\`;
4. \`/etc/cpfs/conf.d/*.toml\`, of which the last in the order of names counts, and then \`/etc/cpfs/cpfs.toml\` (\`CPFS_CONFIG_DIR\` names another folder than \`/etc/cpfs\`);
5. the default.

\`data.group\`, \`data.spare\` and \`data.auto\` exclude each other: one at a higher place takes the others away.`;

const FORMS = `Sizes are \`64MiB\` (KiB, MiB, GiB, TiB, or a number of bytes), times are \`30s\` (ms, s, min, h, d, or a number of seconds), switches are \`on\` and \`off\` (in files \`true\` and
\`false\`, too). A key that is no setting, or a value that cannot be, is an error with exit code 2 wherever it stands, and names the nearest key.

There are no secrets among the settings: what is secret stands in a file of its own that a setting names, as \`password-file=FILE\` in the URL of a coordinator.`;

const EXAMPLE = `[client]
meta = "10.0.0.1:7400,10.0.0.2:7400"

[data]
group = 2
state = "/srv/disk1"
listen = "10.0.0.5:7401"
leak-grace = "2h"

[mount]
cache-size = "256MiB"`;

/** docs/config.md. */
export function configDocument(): string {
  const lines = [
    '# Configuration',
    '',
    '<!-- Written by the table of settings (src/roles/config/schema.ts); a test keeps it up to date. -->',
    '',
    PRECEDENCE,
    '',
    '```toml',
    EXAMPLE,
    '```',
    '',
    FORMS,
    '',
    '`cpfs config show` prints what holds, `cpfs config show --origin` also where it comes from, and `cpfs config validate` looks at files without starting anything.',
    'A server or a mount reads the files again at SIGHUP, takes over what is marked so below, and logs `config.restart_needed` for what else has changed.',
  ];
  for (const [name, keys] of sections()) lines.push('', `## ${SECTIONS[name]}`, '', ...table(keys));
  return `${lines.join('\n')}\n`;
}

const roff = (text: string): string =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('`', '')
    .replace(/^([.'])/gm, '\\&$1');

/** packaging/man/cpfs.toml.5. */
export function configManual(): string {
  const lines = [
    '.\\" Written by the table of settings (src/roles/config/schema.ts); a test keeps it up to date.',
    '.TH CPFS.TOML 5 "" "cpfs" "cpfs"',
    '.SH NAME',
    'cpfs.toml \\- settings of cpfs',
    '.SH DESCRIPTION',
    ...roff(PRECEDENCE)
      .split('\n')
      .map((line) => (line === '' ? '.PP' : line))
      .flatMap((line) => (/^\d\./.test(line) ? ['.br', line] : [line])),
    '.PP',
    ...roff(FORMS)
      .split('\n')
      .map((line) => (line === '' ? '.PP' : line)),
    '.SH EXAMPLE',
    '.nf',
    ...roff(EXAMPLE).split('\n'),
    '.fi',
  ];
  for (const [name, keys] of sections()) {
    lines.push(`.SH ${roff(SECTIONS[name]!).toUpperCase()}`);
    for (const key of keys) {
      lines.push(
        '.TP',
        `.B ${roff(key)}`,
        roff(`${settingOf(key).summary}.`),
        '.br',
        roff(`Values: ${values(key)}. Default: ${byDefault(key)}.`),
        '.br',
        roff(
          `${onCommandLine(key)}, ${envOf(key)}${settingOf(key).live === true ? '; taken over at SIGHUP' : ''}`,
        ),
      );
    }
  }
  return `${lines.join('\n')}\n`;
}

/** As a file has it. */
function inFile(key: Key): string {
  const setting = settingOf(key);
  const name = key.slice(key.indexOf('.') + 1);
  const value = setting.default;
  if (value === null) return `${name} = ? (${values(key)})`;
  const plain = typeof value === 'boolean' || setting.type === 'integer';
  return `${name} = ${plain ? value : JSON.stringify(formatValue(setting, value))}`;
}

/** packaging/conf/cpfs.toml: says nothing, but has all that could be said. */
export function configFile(): string {
  const lines = [
    "# Settings of cpfs, each with what holds without it: 'man cpfs.toml'. Flags and variables of the environment come first, then conf.d/*.toml, then this file.",
    "# 'cpfs config validate' looks at it, 'cpfs config show --origin' says what holds and why; servers and mounts read it when they start, and at SIGHUP.",
  ];
  for (const [name, keys] of sections()) {
    lines.push('', `# ${SECTIONS[name]!.replaceAll('`', "'")}`, `[${name}]`);
    for (const key of keys) lines.push(`# ${settingOf(key).summary}.`, `#${inFile(key)}`);
  }
  return `${lines.join('\n')}\n`;
}
