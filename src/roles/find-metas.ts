import {Lost, messageOf} from '../core/base/errors.js';
import {namesIn} from '../core/base/meta-names.js';
import {systemClock} from '../core/os/clock.js';
import {SystemResolver} from '../core/os/resolver.js';
import {CliError, EXIT} from './cli-error.js';

/** host:port of all that `--meta` names now. CliError: nobody knows. */
export async function findMetas(names: string, timeoutMs: number): Promise<string[]> {
  let late: NodeJS.Timeout | undefined;
  try {
    const found = new SystemResolver(systemClock).resolve(names);
    if (found === null) return namesIn(names);
    const never = new Promise<never>((_, reject) => {
      late = setTimeout(() => reject(new Lost(`no answer in ${timeoutMs / 1000} s`)), timeoutMs);
    });
    return await Promise.race([found, never]);
  } catch (error) {
    throw new CliError(
      `nobody says where ${names} is (${messageOf(error)}); name the meta servers with --meta HOST:PORT,HOST:PORT`,
      EXIT.unavailable,
    );
  } finally {
    clearTimeout(late);
  }
}
