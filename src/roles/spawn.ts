import {spawn} from 'node:child_process';
import {closeSync, mkdirSync, openSync, readFileSync} from 'node:fs';
import {dirname} from 'node:path';
import {ownCommand} from '../core/os/program.js';
import {CliError, EXIT} from './cli-error.js';
import {LOG_FILE, READY_FD} from './ready.js';

export interface Started {
  pid: number;
  info: Record<string, string | number>;
}

/**
 * Starts `cpfs ARGV` in the background, detached, with its log appended to `logPath` (null: where this process logs); resolves when it
 * says that it is usable. Rejects with its own error sentence, or after `timeoutMs` (and ends it then).
 */
export function startRole(
  argv: readonly string[],
  logPath: string | null,
  timeoutMs: number,
  env: Record<string, string> = {},
): Promise<Started> {
  if (logPath !== null) mkdirSync(dirname(logPath), {recursive: true});
  const log = logPath === null ? process.stderr.fd : openSync(logPath, 'a');
  const where = logPath ?? 'the journal';
  const [program, ...before] = ownCommand();
  const child = spawn(program, [...before, ...argv], {
    detached: true,
    cwd: '/',
    stdio: ['ignore', log, log, 'pipe'],
    env: {
      ...process.env,
      ...env,
      [READY_FD]: '3',
      ...(logPath === null ? {} : {[LOG_FILE]: logPath}),
    },
  });
  if (logPath !== null) closeSync(log);
  const what = `cpfs ${argv.slice(0, 2).join(' ')}`;
  return new Promise((resolve, reject) => {
    let text = '';
    const ready = child.stdio[3] as NodeJS.ReadableStream;
    const finish = (act: () => void) => {
      clearTimeout(timer);
      ready.removeAllListeners();
      (ready as unknown as {destroy(): void}).destroy();
      child.removeAllListeners();
      child.unref();
      act();
    };
    const timer = setTimeout(() => {
      child.kill('SIGTERM');
      finish(() =>
        reject(
          new CliError(
            `${what} was not ready within ${timeoutMs / 1000} s; see ${where}`,
            EXIT.timeout,
          ),
        ),
      );
    }, timeoutMs);
    ready.on('data', (bytes: Buffer) => {
      text += bytes.toString();
      if (!text.includes('\n')) return;
      const info = JSON.parse(text) as Record<string, string | number>;
      if (typeof info.error === 'string') {
        finish(() => reject(new CliError(String(info.error), Number(info.exit ?? EXIT.failed))));
      } else {
        finish(() => resolve({pid: child.pid!, info}));
      }
    });
    child.on('error', (error) =>
      finish(() => reject(new CliError(`cannot start ${what}: ${error.message}`, EXIT.failed))),
    );
    child.on('exit', (code, signal) =>
      finish(() =>
        reject(
          new CliError(
            `${what} ended at start (${signal ?? code}); ${logPath === null ? `see ${where}` : `its log ${logPath} ends with: ${lastLine(logPath)}`}`,
            EXIT.failed,
          ),
        ),
      ),
    );
  });
}

function lastLine(path: string): string {
  try {
    return readFileSync(path, 'utf8').trimEnd().split('\n').at(-1) ?? '';
  } catch {
    return '(unreadable)';
  }
}
