import {type CoordinatorUrl, parseCoordinatorUrl} from '../../core/base/coordinator-url.js';
import {FsError, messageOf} from '../../core/base/errors.js';
import type {Clock} from '../../core/env/clock.js';
import type {Coordinator} from '../../core/env/coordinator.js';
import {CliError, EXIT} from '../cli-error.js';

const wrong = (error: unknown): CliError =>
  new CliError(
    `--coordinator: ${error instanceof FsError ? error.detail : messageOf(error)}`,
    EXIT.usage,
  );

/** The parts of `--coordinator`; CliError: it is not one. */
export function coordinatorUrl(text: string): CoordinatorUrl {
  try {
    return parseCoordinatorUrl(text);
  } catch (error) {
    throw wrong(error);
  }
}

/** A client of it. Nobody is asked yet. CliError: one of its files cannot be read. */
export async function openCoordinator(url: CoordinatorUrl, clock: Clock): Promise<Coordinator> {
  // Loaded where it is used: most meta servers of small clusters are alone.
  const {openEtcd} = await import('../../core/os/coordinator-etcd.js');
  try {
    return openEtcd(url, clock);
  } catch (error) {
    throw wrong(error);
  }
}
