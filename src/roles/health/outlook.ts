import type {Status} from '../admin.js';

/** What is missing, what that puts at risk, and when it is over. */
export interface Outlook {
  /** Servers of slots that are not ready. */
  missing: {
    group: number;
    slot: number;
    address: string;
    uuid: string;
    domain: string;
    state: string;
    /** ISO 8601, by the clock of the meta server; null: not known. */
    since: string | null;
    awaySeconds: number | null;
    left: number;
    secondsLeft: number;
    /** Away in a maintenance. */
    byIntent: boolean;
  }[];
  /** The least that a group bears; null: not known, or there is none. */
  bears: number | null;
  /** Until everything is rebuilt, as far as it is known now; 0: it is. null: not known, or somebody must come back first. */
  safeInSeconds: number | null;
  /** In a sentence; empty: all is well. */
  risk: string;
  safeAgain: string;
}

export function outlookOf(status: Status): Outlook {
  const missing = status.groups.flatMap(({id, slots}) =>
    slots
      .filter(({state}) => state === 'away' || state === 'recovering')
      .map(({index, state, address, server, awaySeconds}) => {
        const known = status.servers.find(({uuid}) => uuid === server);
        const since =
          awaySeconds === null ? null : new Date(Date.parse(status.at) - awaySeconds * 1000);
        return {
          group: id,
          slot: index,
          address: address ?? '',
          uuid: server ?? '',
          domain: known?.domain ?? '',
          state,
          since: since?.toISOString() ?? null,
          awaySeconds,
          left: known?.left ?? 0,
          secondsLeft: known?.recoverySeconds ?? 0,
          byIntent: state === 'away' && meant(status, server ?? ''),
        };
      }),
  );
  const made = status.groups.filter(({state}) => state !== 'creating');
  const told = made.flatMap(({bears}) => (bears === null ? [] : [bears]));
  const bears = made.length === 0 || told.length < made.length ? null : Math.min(...told);
  const {seconds, text} = safeAgain(status, missing);
  return {missing, bears, safeInSeconds: seconds, risk: riskOf(status), safeAgain: text};
}

function meant({maintenance}: Status, uuid: string): boolean {
  if (maintenance === null) return false;
  return maintenance.servers.length === 0 || maintenance.servers.includes(uuid);
}

const losses = (count: number): string =>
  count === 1 ? 'the loss of one more server' : `the loss of ${count} more servers`;

function riskOf({groups}: Status): string {
  const said = groups.flatMap(({id, state, bears, slots}) => {
    const lacking = slots.some((slot) => slot.state === 'away' || slot.state === 'recovering');
    if (state === 'failed')
      return [`group ${id} has failed: what is in it cannot be written, and some not be read`];
    if (!lacking || bears === null) return [];
    return bears <= 0
      ? [`group ${id} bears no more loss: stop none of its servers`]
      : [`group ${id} still bears ${losses(bears)}`];
  });
  return said.join('; ');
}

/** `1 h 5 min`, as people say it. */
export function span(seconds: number): string {
  if (seconds < 100) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.round(hours / 24)} d`;
}

function safeAgain(
  {recoveryLeft, recovery, outAfterSeconds, waiting, groups, maintenance}: Status,
  missing: Outlook['missing'],
): {seconds: number | null; text: string} {
  const away = missing.filter(({state}) => state === 'away');
  if (away.length > 0) {
    const first = Math.max(...away.map(({awaySeconds}) => awaySeconds ?? 0));
    const spares = waiting.length;
    // No spare gets the place of one that may be the last to have something.
    if (groups.some(({state, bears}) => state === 'failed' || (bears ?? 0) < 0))
      return {
        seconds: null,
        text: 'when those that are away are started again, with their folders',
      };
    const text = away.every(({byIntent}) => byIntent)
      ? `when it is started again; nobody takes its place for ${span(maintenance?.secondsLeft ?? 0)} yet, the time of the maintenance`
      : spares === 0
        ? 'when it is started again; no spare waits to take its place'
        : outAfterSeconds === 0
          ? `when it is started again, or 'cpfs data replace' gives its place to one of ${spares} that wait`
          : `when it is started again; or a spare takes its place in ${span(Math.max(0, outAfterSeconds - first))}, and copies what it had`;
    return {seconds: null, text};
  }
  if (missing.length === 0) {
    const checks = `${recoveryLeft} checks of what was being written`;
    return recoveryLeft === 0 ? {seconds: 0, text: ''} : {seconds: null, text: `after ${checks}`};
  }
  if (recovery.paused) return {seconds: null, text: "not before 'cpfs recovery resume'"};
  const left = missing.reduce((sum, one) => sum + one.left, 0);
  const rest = left > 0 ? ` (${left} chunks left)` : '';
  if (missing.some(({secondsLeft}) => secondsLeft === 0))
    return {
      seconds: null,
      text: `when it has caught up${rest}; how long that takes is not known yet`,
    };
  const seconds = Math.max(...missing.map(({secondsLeft}) => secondsLeft));
  return {seconds, text: `in about ${span(seconds)}${rest}`};
}
