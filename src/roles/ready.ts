import {closeSync, writeSync} from 'node:fs';

/** The environment variable that names the descriptor on which a starter waits for one line of JSON. */
export const READY_FD = 'CPFS_READY_FD';
/** The environment variable with the path of the log of a process that was started in the background. */
export const LOG_FILE = 'CPFS_LOG_FILE';

/** Tells whoever started this process that it is usable (or, with `error`, why it never will be). Once. */
export function notifyReady(info: Record<string, string | number>): void {
  const descriptor = Number(process.env[READY_FD]);
  if (!Number.isInteger(descriptor) || descriptor < 3) return;
  delete process.env[READY_FD];
  try {
    writeSync(descriptor, `${JSON.stringify(info)}\n`);
    closeSync(descriptor);
  } catch {
    // The starter is gone; the role goes on without it.
  }
}
