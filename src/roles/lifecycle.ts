import {setFlagsFromString} from 'node:v8';
import type {Log} from '../core/env/log.js';
import {EXIT} from './cli-error.js';

/** Resolves with the signal's name at the first SIGTERM or SIGINT. A second one ends the process at once. */
export function untilSignal(): Promise<string> {
  return new Promise((resolve) => {
    let asked = false;
    const on = (name: NodeJS.Signals) => {
      if (asked) process.exit(EXIT.interrupted);
      asked = true;
      resolve(name);
    };
    process.on('SIGTERM', on);
    process.on('SIGINT', on);
  });
}

/** A bug stops the process with what it saw: a server that is wrong is worse than one that is away. */
export function dieOnBugs(log: Log): void {
  const die = (kind: string) => (error: unknown) => {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    log.error('process.bug', {kind, error: text});
    process.exit(EXIT.failed);
  };
  process.on('uncaughtException', die('exception'));
  process.on('unhandledRejection', die('rejection'));
}

/** The collector runs when this much has been added to what was alive last time. */
const HEAP_GROWTH_PERCENT = 50;
/** A heap that is still growing to its size is collected often enough as it is. */
const HEAP_GROWN_MS = 60_000;

/** Without it V8 lets garbage grow to three times what is alive: some hundred MiB of a mount that has been busy for an hour. */
export function keepHeapSmall(): void {
  const bound = () => setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`);
  setTimeout(bound, HEAP_GROWN_MS).unref();
}

/** Runs `step` and gives up after `ms`: an orderly stop must not wait for ever. True if it ended in time. */
export async function within(ms: number, step: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  try {
    return await Promise.race([step.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
