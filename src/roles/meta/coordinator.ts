import {readFileSync} from 'node:fs';
import {type CoordinatorUrl, parseCoordinatorUrl} from '../../core/base/coordinator-url.js';
import {FsError, messageOf} from '../../core/base/errors.js';
import type {Clock} from '../../core/env/clock.js';
import type {Coordinator} from '../../core/env/coordinator.js';
import {CliError, EXIT} from '../cli-error.js';

/** The parts of `--coordinator`; CliError: it is not one. */
export function coordinatorUrl(text: string): CoordinatorUrl {
  try {
    return parseCoordinatorUrl(text);
  } catch (error) {
    const why = error instanceof FsError ? error.detail : messageOf(error);
    throw new CliError(`--coordinator: ${why}`, EXIT.usage);
  }
}

/** A client of it. Nobody is asked yet. CliError: one of its files cannot be read. */
export async function openCoordinator(url: CoordinatorUrl, clock: Clock): Promise<Coordinator> {
  const read = (path: string | undefined): Buffer | undefined => {
    if (path === undefined) return undefined;
    try {
      return readFileSync(path);
    } catch (error) {
      throw new CliError(`--coordinator: cannot read ${path}: ${messageOf(error)}`, EXIT.usage);
    }
  };
  const {tls, endpoints, caFile, certFile, keyFile, user, passwordFile} = url;
  const password = read(passwordFile)?.toString('utf8').trimEnd();
  // Loaded where it is used: most meta servers of small clusters are alone.
  const {EtcdCoordinator} = await import('../../core/os/coordinator-etcd.js');
  return new EtcdCoordinator(
    {
      tls,
      endpoints,
      ca: read(caFile),
      cert: read(certFile),
      key: read(keyFile),
      login: user === undefined ? undefined : {user, password: password!},
    },
    clock,
  );
}
