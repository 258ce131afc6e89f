import {parseAddress} from '../../core/base/address.js';
import {parseCoordinatorUrl} from '../../core/base/coordinator-url.js';
import {FsError} from '../../core/base/errors.js';
import {parseMetaNames} from '../../core/base/meta-names.js';
import {parseSize} from '../../core/base/units.js';
import {parseScheme} from '../../core/layout/scheme.js';
import {isLogLevels} from '../../core/os/log-levels.js';
import {CliError, EXIT} from '../cli-error.js';
import {parseLocation} from '../location.js';
import type {Setting, Value} from './schema.js';

const UNITS: Record<string, number> = {
  '': 1,
  ms: 0.001,
  s: 1,
  min: 60,
  m: 60,
  h: 3600,
  d: 86_400,
};

/** Seconds of a time such as `30s`, `500ms`, `10min`, `12h`, `7d`, or a number of seconds; null if it is not one. */
export function parseDuration(text: string): number | null {
  const match = /^(\d{1,12})\s*([a-z]*)$/.exec(text.trim());
  const unit = match === null ? undefined : UNITS[match[2]!];
  return unit === undefined ? null : Number(match![1]) * unit;
}

const refusal = (why: string): CliError => new CliError(why, EXIT.usage);

function oneOf(what: string, names: readonly string[], text: string): never {
  throw refusal(`${what} is ${names.join(' or ')}, not '${text}'`);
}

function within(
  what: string,
  setting: Setting,
  kind: string,
  parsed: number | null,
  text: string,
): number {
  const {min = 0, max = Number.MAX_SAFE_INTEGER} = setting;
  const whole = setting.type === 'time' || Number.isSafeInteger(parsed);
  if (parsed === null || !whole || parsed < min || parsed > max) {
    const [from, to] = [formatValue(setting, min), formatValue(setting, max)];
    const ends = setting.type === 'size' ? `${min} to ${max} bytes` : `${from} to ${to}`;
    throw refusal(`${what} is ${kind} from ${ends}, not '${text}'`);
  }
  return parsed;
}

/** `off`, or HOST:PORT. Without a host it is this machine's own: whoever reaches the port may ask. */
function adminAddress(text: string, what: string): string {
  if (text === 'off' || text === 'on') return text === 'off' ? text : '127.0.0.1:7402';
  const address = text.startsWith(':') ? `127.0.0.1${text}` : text;
  if (parseAddress(address) === null)
    throw refusal(`${what} is on, off or HOST:PORT, not '${text}'`);
  return address;
}

/** Throws what FsError says of `text`, as one sentence about `what`. */
function accepted(what: string, parse: () => unknown): void {
  try {
    parse();
  } catch (error) {
    throw error instanceof FsError ? refusal(`${what}: ${error.detail}`) : error;
  }
}

/** The value that `text` says. CliError: it says none; `what` is where it was given. */
export function parseValue(setting: Setting, text: string, what: string): Value {
  switch (setting.type) {
    case 'size':
      return within(what, setting, 'a size', parseSize(text), text);
    case 'time':
      return within(what, setting, 'a time', parseDuration(text), text);
    case 'integer':
      return within(what, setting, 'a number', /^\d+$/.test(text) ? Number(text) : null, text);
    case 'boolean':
      if (text === 'on' || text === 'true') return true;
      if (text === 'off' || text === 'false') return false;
      return oneOf(what, ['on', 'off'], text);
    case 'choice':
      return setting.options!.includes(text) ? text : oneOf(what, setting.options!, text);
    case 'address':
      if (parseAddress(text) === null) throw refusal(`${what} must be HOST:PORT, not '${text}'`);
      return text;
    case 'admin':
      return adminAddress(text, what);
    case 'metas':
      if (setting.token !== true || !text.startsWith('cpfs1.'))
        accepted(what, () => parseMetaNames(text));
      return text;
    case 'coordinator':
      accepted(what, () => parseCoordinatorUrl(text));
      return text;
    case 'scheme':
      if (parseScheme(text) === null)
        throw refusal(`${what} is DATA+REDUNDANCY, such as 4+1, not '${text}'`);
      return text;
    case 'location':
      return parseLocation(text, what);
    case 'levels':
      if (!isLogLevels(text))
        throw refusal(
          `${what} is debug, info, warn or error, with CATEGORY=LEVEL after commas, not '${text}'`,
        );
      return text;
    case 'text':
      if (text === '' || text.length > setting.max!)
        throw refusal(`${what} is a word of at most ${setting.max} characters`);
      return text;
    case 'path':
      if (text === '' || text.includes('\0')) throw refusal(`${what} is a path, not '${text}'`);
      return text;
  }
}

/** As parseValue, of what stands in a file: numbers and booleans may stand there as such. */
export function fileValue(setting: Setting, given: unknown, what: string): Value {
  if (typeof given === 'string') return parseValue(setting, given, what);
  const {type} = setting;
  if (typeof given === 'boolean' && type === 'boolean') return given;
  const number = typeof given === 'number' || typeof given === 'bigint';
  if (number && (type === 'size' || type === 'time' || type === 'integer'))
    return parseValue(setting, String(given), what);
  if (typeof given === 'boolean' || number || given instanceof Date)
    throw refusal(`${what} is a text in quotes, not ${String(given)}`);
  throw refusal(`${what} is one value, not a table or a list`);
}

const exact = (value: number, units: readonly (readonly [string, number])[]): string => {
  const unit = value === 0 ? undefined : units.find(([, size]) => value % size === 0);
  return unit === undefined ? String(value) : `${value / unit[1]}${unit[0]}`;
};
const SIZES = [
  ['TiB', 2 ** 40],
  ['GiB', 2 ** 30],
  ['MiB', 2 ** 20],
  ['KiB', 2 ** 10],
] as const;
const TIMES = [
  ['d', 86_400],
  ['h', 3600],
  ['min', 60],
  ['s', 1],
] as const;

/** Text of which parseValue makes the same value again. */
export function formatValue({type}: Setting, value: Value): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (typeof value === 'string') return value;
  if (type === 'size') return exact(value, SIZES);
  if (type !== 'time') return String(value);
  return Number.isInteger(value) ? exact(value, TIMES) : `${Math.round(value * 1000)}ms`;
}
