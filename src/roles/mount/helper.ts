import {CliError, EXIT} from '../cli-error.js';
import {parseMountOptions} from './options.js';

const PORT = 7400;

/**
 * The meta servers of a device as fstab has it: `meta1,meta2:/`, each with a port or without; `srv:example.com:/`;
 * `etcd://10.0.0.7:2379/cpfs:/`. The part behind the last colon is the folder that is mounted.
 */
export function metasOfDevice(device: string): string {
  const match = /^(.+):(\/.*)$/s.exec(device);
  // The two slashes of a URL are no folder.
  if (match === null || match[2]!.startsWith('//')) {
    throw new CliError(
      `the device is META[,META...]:/, such as meta1,meta2:/, not '${device}'`,
      EXIT.usage,
    );
  }
  const [, metas, folder] = match as unknown as [string, string, string];
  if (folder !== '/') {
    throw new CliError(
      `only the whole file system can be mounted: write ${metas}:/ and bind what is wanted of it elsewhere`,
      EXIT.usage,
    );
  }
  if (/^etcds?:/.test(metas)) return metas;
  const hasPort = (one: string) => one.startsWith('srv:') || /:\d+$/.test(one.replace(/^.*\]/, ''));
  return metas
    .split(',')
    .map((one) => (hasPort(one) ? one : `${one}:${PORT}`))
    .join(',');
}

const known = (option: string): boolean => {
  try {
    parseMountOptions(option);
    return true;
  } catch {
    return false;
  }
};

/** What mount(8) gives with -o: checked, without what only it has to know. With `sloppy` what is not known is left out. */
export function optionsOfMount(given: readonly string[], sloppy: boolean): string[] {
  const options = given.flatMap((text) => text.split(',')).filter((one) => one !== '');
  if (options.includes('remount')) {
    throw new CliError(
      'a mount cannot be changed while it is there; unmount it and mount it again',
      EXIT.usage,
    );
  }
  const kept = sloppy ? options.filter(known) : options;
  parseMountOptions(kept.join(','));
  return kept.length === 0 ? [] : [kept.join(',')];
}

/** Exit codes of mount(8). */
export const MOUNT_EXIT = {usage: 1, system: 2, failure: 32} as const;

export function mountExit(error: unknown, code: number): number {
  if (code === EXIT.usage) return MOUNT_EXIT.usage;
  return error instanceof CliError ? MOUNT_EXIT.failure : MOUNT_EXIT.system;
}
