import type {Ms} from '../base/ids.js';
import {KIB} from '../base/units.js';
import {SLOT, slotStateName} from '../cluster/map.js';
import type {ClusterState} from '../cluster/state.js';
import type {Clock, Timer} from '../env/clock.js';
import type {Log, LogFields} from '../env/log.js';
import type {ClusterEvent, EventsReply, EventsRequest} from '../protocol/gen/wire.js';

/** Some hours of a cluster in which something happens. */
const KEPT_MAX = 2048;
/** Of one answer: less than half of what a message takes. */
const ROWS_MAX = 500;
const ROWS_BYTES_MAX = 48 * KIB;
const FIELD_CHARS_MAX = 300;
const WAIT_MS_MAX: Ms = 20_000;
/** Administrators that wait; more are answered at once. */
const WAITERS_MAX = 64;

/** What of the log is worth a place: what changes seldom. What a broken client could repeat without end is not here. */
const KEPT =
  /^(slot|group|server|standby|standbys|meta|scrub|recovery|features|resync|coordinator|election|reign|cluster|maintenance)\.|^session\.(began|end|fenced)$|^(log\.restart|log\.cut|backup\.begun)$/;

type Level = 'info' | 'warn' | 'error';

/**
 * What happened of late, taken from the log of a meta server while it is the active one, in memory. The next active one begins a list of its
 * own, with what it finds (`found`); what was before is in the log of the former.
 */
export class Events {
  readonly #clock: Clock;
  readonly #kept: ClusterEvent[] = [];
  #last = 0;
  #boot = 0;
  #closed = false;
  readonly #waiting = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Which list it is, from now on. */
  begin(boot: number): void {
    this.#boot = boot;
  }

  /** Nobody waits any more. */
  close(): void {
    this.#closed = true;
    this.#wake();
  }

  /** The same log, of which this keeps a part. */
  over(log: Log, bound: LogFields = {}): Log {
    const emit = (level: Level) => (event: string, fields?: LogFields) => {
      log[level](event, fields);
      if (KEPT.test(event)) this.#add(level, event, {...bound, ...fields});
    };
    return {
      debug: (event, fields) => log.debug(event, fields),
      info: emit('info'),
      warn: emit('warn'),
      error: emit('error'),
      with: (fields) => this.over(log.with(fields), {...bound, ...fields}),
    };
  }

  async read(q: EventsRequest): Promise<EventsReply> {
    const after = q.boot === this.#boot ? q.after : 0;
    if (this.#last <= after && q.waitMs > 0) await this.#more(Math.min(q.waitMs, WAIT_MS_MAX));
    const first = this.#kept[0]?.number ?? this.#last + 1;
    const rows = this.#kept.slice(Math.max(0, after + 1 - first), undefined);
    const events: ClusterEvent[] = [];
    let bytes = 0;
    for (const row of rows) {
      bytes += row.fields.length + row.event.length + 32;
      if (events.length >= Math.min(q.max || ROWS_MAX, ROWS_MAX)) break;
      if (bytes > ROWS_BYTES_MAX && events.length > 0) break;
      events.push(row);
    }
    return {boot: this.#boot, events, missed: Math.max(0, first - after - 1)};
  }

  #add(level: Level, event: string, fields: LogFields): void {
    const short = Object.entries(fields)
      .filter(([, value]) => value !== undefined && value !== '')
      .map(([name, value]) => [
        name,
        typeof value === 'string' ? value.slice(0, FIELD_CHARS_MAX) : value,
      ]);
    this.#kept.push({
      number: ++this.#last,
      atMs: Math.max(0, Math.round(this.#clock.wall())),
      level,
      event,
      fields: JSON.stringify(Object.fromEntries(short)),
    });
    if (this.#kept.length > KEPT_MAX) this.#kept.shift();
    this.#wake();
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  #more(ms: Ms): Promise<void> {
    if (this.#closed || this.#waiting.size >= WAITERS_MAX) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        this.#waiting.delete(done);
        resolve();
      };
      const timer: Timer = this.#clock.timer(ms, done);
      this.#waiting.add(done);
    });
  }
}

/** What a meta server that becomes the active one finds: so its list begins with what is wrong. */
export function found(log: Log, {groups}: ClusterState): void {
  for (const {id, slots} of groups)
    for (const [index, {state, member, since}] of slots.entries())
      if (state !== SLOT.ready && state !== SLOT.empty)
        log.info('slot.found', {
          group: id,
          slot: index,
          state: slotStateName(state),
          epoch: since,
          server: member?.address,
        });
}
