import {CliError, EXIT} from '../cli-error.js';
import {checkOnline} from './online.js';
import {type Finding, type Looked, Report} from './report.js';

export interface CheckRequest {
  meta: string;
  timeoutMs: number;
  repair: boolean;
  data: boolean;
}

/** What `cpfs check -o json` prints. Stable: fields are added, never changed. */
export interface CheckResult {
  version: 1;
  /** How many there are; the first 10,000 are listed. */
  found: number;
  mended: number;
  findings: Finding[];
  looked: Looked;
  /** What the check says nothing about. */
  unlooked: {reason: string; times: number}[];
  exit: number;
}

/** Findings are said as they come. */
export async function check(
  request: CheckRequest,
  say: (line: string) => void,
): Promise<CheckResult> {
  const report = new Report(say);
  await checkOnline(request, report);
  return resultOf(report);
}

/** The same of the folder of a server that does not run. */
export async function checkFolder(
  state: string,
  repair: boolean,
  say: (line: string) => void,
): Promise<CheckResult> {
  if (repair) {
    throw new CliError(
      "nothing is mended in the folder of a stopped server; start it, and use 'cpfs check --repair --meta HOST:PORT'",
      EXIT.usage,
    );
  }
  const report = new Report(say);
  const {checkOffline} = await import('./offline.js');
  await checkOffline(state, report);
  return resultOf(report);
}

function resultOf(report: Report): CheckResult {
  const {found, mended, findings, looked, unlooked} = report;
  const exit = report.left > 0 ? EXIT.failed : unlooked.length > 0 ? EXIT.degraded : EXIT.ok;
  return {version: 1, found, mended, findings, looked, unlooked, exit};
}
