import {Flags, type Interfaces} from '@oclif/core';
import {
  envOf,
  flagOf,
  type Key,
  type SETTINGS,
  settingOf,
  type Value,
  type ValueOf,
} from '../roles/config/schema.js';
import {formatValue, parseValue} from '../roles/config/values.js';

type Given<K extends Key> = Exclude<ValueOf<K>, undefined>;
type IsSwitch<K extends Key> = (typeof SETTINGS)[K]['type'] extends 'boolean'
  ? (typeof SETTINGS)[K] extends {onOff: true}
    ? false
    : true
  : false;
type SettingFlag<K extends Key> =
  IsSwitch<K> extends true ? Interfaces.BooleanFlag<boolean> : Interfaces.OptionFlag<ValueOf<K>>;

interface Own<K extends Key> {
  char?: 'o';
  summary?: string;
  /** Of this command alone. */
  default?: Given<K>;
}

export interface FlagSetting {
  key: Key;
  /** Of this command. */
  default: Value | undefined;
}

const keyOfFlag = new WeakMap<object, FlagSetting>();

/** The flag of a setting, under its name. */
export function setting<K extends Key>(key: K, own: Own<K> = {}): SettingFlag<K> {
  const row = settingOf(key);
  const name = `--${flagOf(key)}`;
  const byDefault: Value | undefined =
    (own.default as Value | undefined) ?? row.default ?? undefined;
  const common = {char: own.char, summary: own.summary ?? row.summary, env: envOf(key)};
  const exclusive = (row.excludes as readonly Key[] | undefined)?.map((other) => flagOf(other)!);
  const flag =
    row.type === 'boolean' && row.onOff !== true
      ? Flags.boolean({...common, exclusive, allowNo: true})
      : Flags.custom<Value>({
          ...common,
          exclusive,
          options: row.type === 'choice' ? [...row.options!] : undefined,
          // Help shows it as it may be written.
          default: byDefault === undefined ? undefined : formatValue(row, byDefault),
          parse: async (text: string) => parseValue(row, text, name),
        })();
  keyOfFlag.set(flag, {key, default: byDefault});
  return flag as SettingFlag<K>;
}

/** Which settings are flags of a command, by the name of the flag. */
export function settingsAmong(flags: Interfaces.FlagInput): Map<string, FlagSetting> {
  const found = new Map<string, FlagSetting>();
  for (const [name, flag] of Object.entries(flags)) {
    const of = keyOfFlag.get(flag);
    if (of !== undefined) found.set(name, of);
  }
  return found;
}

/** The same flags without defaults and variables: those come from what is known of the settings. */
export function bare(flags: Interfaces.FlagInput): Interfaces.FlagInput {
  const entries = Object.entries(flags).map(
    ([name, flag]) =>
      [name, keyOfFlag.has(flag) ? {...flag, env: undefined, default: undefined} : flag] as const,
  );
  return Object.fromEntries(entries) as Interfaces.FlagInput;
}
