import {OPS} from '../core/protocol/ops.js';
import {withMeta} from './admin.js';
import {CliError, EXIT} from './cli-error.js';

/** What an administrator did, or who was refused. Stable: fields are added, never changed. */
export interface DeedShown {
  number: number;
  /** ISO 8601. */
  at: string;
  who: string;
  from: string;
  what: string;
  with: Record<string, unknown>;
  /** `ok`, or why not. */
  result: string;
  /** So many refusals before this one were not written down. */
  more: number;
}

const PAGE = 500;
const WAIT_MS = 15_000;
const AGAIN_MS = 1_000;

/** All that are kept after this one, page by page; with `follow` each as it comes, for ever. */
export async function readDeeds(
  metas: string,
  timeoutMs: number,
  follow: boolean,
  page: (deeds: DeedShown[], missed: number) => void,
): Promise<void> {
  let after = 0;
  for (;;) {
    try {
      await withMeta(metas, timeoutMs, async (peer) => {
        for (let waitMs = 0; ; ) {
          const request = {after, max: PAGE, waitMs};
          const options = {deadlineMs: timeoutMs + waitMs};
          const {message} = await peer.call(OPS.deeds, request, options);
          const deeds = message.deeds.map(({atMs, with: asked, ...deed}) => ({
            ...deed,
            at: new Date(atMs).toISOString(),
            with: withOf(asked),
          }));
          if (deeds.length > 0) page(deeds, after === 0 ? 0 : message.missed);
          after = deeds.at(-1)?.number ?? after;
          if (deeds.length === 0 && !follow) return;
          if (deeds.length === 0 || deeds.length < PAGE) waitMs = follow ? WAIT_MS : 0;
        }
      });
      return;
    } catch (error) {
      const passes = error instanceof CliError && error.exit === EXIT.unavailable;
      if (!follow || after === 0 || !passes) throw error;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}

/** What was too long was cut. */
function withOf(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {text};
  }
}

export function deedText({who, from, what, with: asked, result, more}: DeedShown): string {
  const pairs = Object.entries(asked).map(([name, value]) =>
    typeof value === 'object' ? `${name}=${JSON.stringify(value)}` : `${name}=${value}`,
  );
  const others = more === 0 ? '' : ` (and ${more} refused before)`;
  const said = [what.replace(/^meta\./, ''), ...pairs].join(' ');
  return `${who === '' ? 'somebody' : who} from ${from}: ${said}: ${result}${others}`;
}
