import {formatAddress, parseAddress} from './address.js';
import {type CoordinatorUrl, parseCoordinatorUrl} from './coordinator-url.js';
import {FsError} from './errors.js';

/** One of those that `--meta` names. */
export type MetaName =
  /** An IP address, with its port. */
  | {kind: 'address'; address: string}
  /** All addresses of a host in DNS, or in the machine's own table. */
  | {kind: 'host'; host: string; port: number}
  /** All targets of a service in DNS. */
  | {kind: 'service'; service: string}
  /** Those that the meta servers' coordinator knows. */
  | {kind: 'coordinator'; url: CoordinatorUrl};

const SERVICE = '_cpfs-meta._tcp';
const NAMES_MAX = 32;
const DOMAIN = /^(?=.{1,200}$)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?$/;
const ADDRESS = /^(\d+(\.\d+){3}$|.*:)/;

/** As they were written: with commas between; a coordinator has commas of its own, and stands alone. */
export const namesIn = (text: string): string[] =>
  /^etcds?:/.test(text) ? [text] : text.split(',').map((one) => one.trim());

/**
 * `HOST:PORT`, `srv:DOMAIN`, several of both with commas between; or `etcd://HOST:PORT[,...][/PREFIX]`, as with `--coordinator`. Throws FsError(EINVAL)
 * that says what is wrong.
 */
export function parseMetaNames(text: string): MetaName[] {
  const names = namesIn(text);
  if (names.length > NAMES_MAX)
    throw new FsError('EINVAL', `names at most ${NAMES_MAX}, not ${names.length}`);
  if (names.length > 1 && names.some((one) => /^etcds?:/.test(one)))
    throw new FsError('EINVAL', `names a coordinator alone, not with others: '${text}'`);
  return names.map(parseName);
}

function parseName(text: string): MetaName {
  if (/^etcds?:/.test(text)) return {kind: 'coordinator', url: parseCoordinatorUrl(text)};
  if (text.startsWith('srv:')) {
    const domain = text.slice('srv:'.length);
    if (!DOMAIN.test(domain)) throw new FsError('EINVAL', `must be srv:DOMAIN, not '${text}'`);
    return {kind: 'service', service: `${SERVICE}.${domain}`};
  }
  const at = parseAddress(text);
  if (at === null) {
    throw new FsError(
      'EINVAL',
      `must be HOST:PORT, srv:DOMAIN or etcd://HOST:PORT[/PREFIX], not '${text}'`,
    );
  }
  if (ADDRESS.test(at.host)) return {kind: 'address', address: formatAddress(at.host, at.port)};
  return {kind: 'host', ...at};
}
