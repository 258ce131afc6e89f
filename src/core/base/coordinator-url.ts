import {formatAddress, parseAddress} from './address.js';
import {FsError} from './errors.js';

/** Where the coordinator is, how to talk to it, and where this cluster's keys are. Files are named, not read. */
export interface CoordinatorUrl {
  tls: boolean;
  /** host:port of each member; at least one. */
  endpoints: string[];
  /** Of the keys; begins with `/`, and does not end so. */
  prefix: string;
  caFile?: string;
  certFile?: string;
  keyFile?: string;
  user?: string;
  passwordFile?: string;
}

const OPTIONS: Record<string, 'caFile' | 'certFile' | 'keyFile' | 'user' | 'passwordFile'> = {
  ca: 'caFile',
  cert: 'certFile',
  key: 'keyFile',
  user: 'user',
  'password-file': 'passwordFile',
};
const TLS_ONLY = ['caFile', 'certFile', 'keyFile'] as const;
const PREFIX_DEFAULT = '/cpfs';

const bad = (why: string): FsError => new FsError('EINVAL', why);

/**
 * Parts of `etcd://HOST:PORT[,HOST:PORT...][/PREFIX]` or `etcds://...?ca=FILE&cert=FILE&key=FILE`; `user=NAME&password-file=FILE` with
 * both. Throws FsError(EINVAL) that says what is wrong.
 */
export function parseCoordinatorUrl(text: string): CoordinatorUrl {
  const match = /^(etcds?):\/\/([^/?#]*)((?:\/[^/?#]+)*)\/?(?:\?([^#]*))?$/.exec(text);
  if (match === null)
    throw bad(`expected etcd://HOST:PORT[,HOST:PORT...][/PREFIX] or etcds://..., not '${text}'`);
  const endpoints = match[2]!.split(',').map((endpoint) => {
    const at = endpoint.includes('@') ? null : parseAddress(endpoint);
    if (at === null || at.port === 0) throw bad(`'${endpoint}' is not HOST:PORT`);
    return formatAddress(at.host, at.port);
  });
  const prefix = match[3] === '' ? PREFIX_DEFAULT : match[3]!;
  const url: CoordinatorUrl = {tls: match[1] === 'etcds', endpoints, prefix};
  for (const [name, value] of new URLSearchParams(match[4] ?? '')) {
    const field = Object.hasOwn(OPTIONS, name) ? OPTIONS[name] : undefined;
    if (field === undefined)
      throw bad(`unknown option '${name}'; there are ${Object.keys(OPTIONS).join(', ')}`);
    if (value === '') throw bad(`option '${name}' is empty`);
    if (url[field] !== undefined) throw bad(`option '${name}' is given twice`);
    url[field] = value;
  }
  if (!url.tls && TLS_ONLY.some((field) => url[field] !== undefined))
    throw bad('ca, cert and key need etcds://');
  if ((url.certFile === undefined) !== (url.keyFile === undefined))
    throw bad('cert and key go together');
  if ((url.user === undefined) !== (url.passwordFile === undefined))
    throw bad('user and password-file go together');
  return url;
}
