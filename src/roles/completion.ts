/** What is known of a flag, as oclif has it. */
interface Flag {
  char?: string;
  summary?: string;
  description?: string;
  type?: string;
  options?: readonly string[];
  hidden?: boolean;
}

/** A command, as oclif has it: words with colons between. */
export interface CommandShape {
  id: string;
  summary?: string;
  hidden?: boolean;
  flags: Record<string, Flag>;
  args: Record<string, {options?: readonly string[]}>;
}

interface TopicShape {
  name: string;
  description?: string;
}

/** One place where a person can be while typing: after these words. */
interface Place {
  /** `` or `meta` or `meta start`. */
  words: string;
  /** What may follow, and what it is. */
  next: [word: string, summary: string][];
  flags: [name: string, flag: Flag][];
}

const HELP: [string, Flag] = ['help', {summary: 'show what it does', type: 'boolean'}];

/** The first sentence, on one line. */
const brief = (text = ''): string => text.split('\n')[0]!.replace(/\.$/, '');

function places(commands: readonly CommandShape[], topics: readonly TopicShape[]): Place[] {
  const known = new Map<string, Place>();
  const place = (words: string): Place => {
    const found = known.get(words) ?? {words, next: [], flags: []};
    known.set(words, found);
    return found;
  };
  const summaryOf = (words: string): string => {
    const id = words.replaceAll(' ', ':');
    const topic = topics.find((one) => one.name === id)?.description;
    return brief(commands.find((one) => one.id === id)?.summary ?? topic);
  };
  place('').flags.push(HELP, ['version', {summary: 'show the version', type: 'boolean'}]);
  for (const command of [...commands].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    if (command.hidden === true) continue;
    const words = command.id.split(':');
    for (let count = 0; count < words.length; count++) {
      const above = place(words.slice(0, count).join(' '));
      const word = words[count]!;
      if (above.next.some(([one]) => one === word)) continue;
      above.next.push([word, summaryOf(words.slice(0, count + 1).join(' '))]);
    }
    const own = place(words.join(' '));
    own.flags.push(
      ...Object.entries(command.flags).filter(([, flag]) => flag.hidden !== true),
      HELP,
    );
    const choices = Object.values(command.args)[0]?.options ?? [];
    own.next.push(...choices.map((choice): [string, string] => [choice, '']));
  }
  return [...known.values()];
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
const takesValue = (flag: Flag): boolean => flag.type !== 'boolean';

function spellings([name, flag]: [string, Flag]): string[] {
  return flag.char === undefined ? [`--${name}`] : [`--${name}`, `-${flag.char}`];
}

function bash(all: readonly Place[]): string {
  const table = (name: string, rows: [string, string][]): string =>
    [
      `declare -gA ${name}=(`,
      ...rows.map(([key, value]) => `  [${quoted(key)}]=${quoted(value)}`),
      ')',
    ].join('\n');
  const values = all.flatMap(({words, flags}) =>
    flags
      .filter(([, flag]) => takesValue(flag))
      .flatMap((flag) =>
        spellings(flag).map((one): [string, string] => [
          `${words} ${one}`,
          flag[1].options?.join(' ') ?? '',
        ]),
      ),
  );
  // A key of bash's tables is not empty, so each has a dot in front.
  const keyed = (rows: [string, string][]) =>
    rows.map(([key, value]): [string, string] => [`.${key}`, value]);
  return `# Completion of cpfs for bash 4 and newer.
${table('_cpfs_next', keyed(all.map((p) => [p.words, p.next.map(([word]) => word).join(' ')])))}
${table('_cpfs_flags', keyed(all.map((p) => [p.words, p.flags.flatMap(spellings).join(' ')])))}
${table('_cpfs_values', keyed(values))}
_cpfs() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} at= word i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    [[ -n \${_cpfs_flags[".\${at:+$at }$word"]+known} ]] && at=\${at:+$at }$word
  done
  if [[ $prev == -* && -n \${_cpfs_values[".$at $prev"]+known} ]]; then
    COMPREPLY=($(compgen -W "\${_cpfs_values[".$at $prev"]}" -- "$cur"))
  elif [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "\${_cpfs_flags[".$at"]}" -- "$cur"))
  else
    COMPREPLY=($(compgen -W "\${_cpfs_next[".$at"]}" -- "$cur"))
  fi
}
complete -o default -F _cpfs cpfs
`;
}

/** Of what zsh takes as the description of a word: no colons, no brackets. */
const plain = (text: string): string => text.replaceAll(/[[\]:\\]/g, ' ');

function zsh(all: readonly Place[]): string {
  const flagOf = ([name, flag]: [string, Flag]): string[] => {
    const value = takesValue(flag)
      ? `:value:${flag.options === undefined ? '_files' : `(${flag.options.join(' ')})`}`
      : '';
    return spellings([name, flag]).map((one) =>
      quoted(`*${one}[${plain(brief(flag.summary ?? flag.description))}]${value}`),
    );
  };
  const branches = all.map(({words, next, flags}) => {
    const list = next.map(([word, summary]) =>
      quoted(summary === '' ? word : `${word}:${plain(summary)}`),
    );
    const rest = next.length > 0 ? '_cpfs_next' : '_files';
    return [
      `    ${quoted(words)})`,
      `      next=(${list.join(' ')})`,
      `      _arguments -S ${[...flags.flatMap(flagOf), `'*::word:${rest}'`].join(' ')}`,
      '      ;;',
    ].join('\n');
  });
  return `#compdef cpfs
_cpfs_next() {
  _describe 'what follows' next
}
_cpfs() {
  local at= word i
  local -a known next
  known=(${all.map(({words}) => quoted(words)).join(' ')})
  for ((i = 2; i < CURRENT; i++)); do
    word=\${at:+$at }$words[i]
    (( \${known[(Ie)$word]} )) && at=$word
  done
  case $at in
${branches.join('\n')}
  esac
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _cpfs "$@"; else compdef _cpfs cpfs; fi
`;
}

function fish(all: readonly Place[]): string {
  const text = (value: string): string => `'${value.replaceAll(/['\\]/g, '\\$&')}'`;
  const lines = all.flatMap(({words, next, flags}) => {
    const at = `complete -c cpfs -n ${text(`__cpfs_at ${text(words)}`)}`;
    return [
      ...next.map(([word, summary]) => `${at} -f -a ${word} -d ${text(summary)}`),
      ...flags.map(([name, flag]) => {
        const short = flag.char === undefined ? '' : ` -s ${flag.char}`;
        const choice = flag.options === undefined ? '' : ` -f -a ${text(flag.options.join(' '))}`;
        const value = takesValue(flag) ? ` -r${choice}` : '';
        return `${at} -l ${name}${short}${value} -d ${text(brief(flag.summary ?? flag.description))}`;
      }),
    ];
  });
  return `# Completion of cpfs for fish.
function __cpfs_at
    set -l known ${all.map(({words}) => text(words)).join(' ')}
    set -l at
    for word in (commandline -opc)[2..-1]
        if contains -- (string join -- ' ' $at $word) $known
            set at $at $word
        end
    end
    test "$at" = "$argv[1]"
end
${lines.join('\n')}
`;
}

/** What a shell reads to complete the words of cpfs. */
export function completionFor(
  shell: 'bash' | 'zsh' | 'fish',
  commands: readonly CommandShape[],
  topics: readonly TopicShape[],
): string {
  return {bash, zsh, fish}[shell](places(commands, topics)).trimEnd();
}
