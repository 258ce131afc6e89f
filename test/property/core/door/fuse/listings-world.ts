import type {
  KernelListings,
  KernelListingsHost,
} from '../../../../../src/core/door/fuse/kernel-listings.js';
import type {Clock} from '../../../../../src/core/env/clock.js';
import {ManualClock, settled} from '../../../../support/manual-clock.js';
import {type Entry, Handle, ReaddirKernel} from './readdir-kernel.js';

// One directory, the threads of one kernel that list it, its daemon with a lease that comes and goes, and others who change it while there
// is no lease. What the daemon sends arrives when a step says so.

const OID = 7;
/** The threads of other namespaces all have the number 0. */
const PIDS = [11, 12, 13, 0];
export const THREADS = PIDS.length;
/** Names that others change; two more are changed through this kernel. */
export const NAMES = 6;
/** More than there are entries. */
export const ALL = 9;
/** A notice takes no longer. */
const NOTICE_MS = 3;

export type Step =
  /** A thread goes on, `times` times; `count`: of so many entries, where that counts. */
  | {do: 'go'; thread: number; times: number; count: number}
  /** It lists all that remains, and what the daemon waits for happens. */
  | {do: 'list'; thread: number}
  | {do: 'open'; thread: number}
  /** It asks the daemon for something else. */
  | {do: 'ask'; thread: number}
  /** A notice takes effect, or one that did is reported. */
  | {do: 'notice'}
  | {do: 'notices'}
  | {do: 'lease'}
  | {do: 'recall'}
  /** Others add, take away or (`name` from NAMES on) replace. */
  | {do: 'change'; name: number}
  /** A change through this kernel. */
  | {do: 'local'; name: number}
  | {do: 'stat'}
  | {do: 'evict'; page: number}
  | {do: 'sleep'; ms: number};

export interface WorldOptions {
  make(clock: Clock, host: KernelListingsHost): KernelListings;
  /** So long answers may be on their way. */
  lateMs: number;
  /** No answer to another thread arrives between the last drop before an end and that end, if it was sent before that end. */
  endsFirst: boolean;
  /** Is every listing looked at, or only those after `final` was set? */
  strict: boolean;
}

interface Name {
  /** 0: there is none. */
  value: number;
  cookie: number;
  /** When it last changed. */
  at: number;
}

interface Thread {
  readonly pid: number;
  handle: Handle;
  stage: 'idle' | 'asked' | 'heard' | 'computed' | 'ending' | 'answered';
  /** When its listing began. */
  began: number;
  /** What its getdents began with. */
  had: number;
  /** The answer, or what has not arrived of it. */
  page: Entry[];
  sent: number;
  sentMs: number;
  /** When the drop that its end waits for took effect. */
  dropped: number;
}

interface Notice {
  effective: boolean;
  sentMs: number;
  told(): void;
}

export class World {
  final = false;
  lease: 'held' | 'recalling' | 'none' = 'none';
  /** Listings that came to their end. */
  listed = 0;
  /** READDIRs. */
  asked = 0;
  readonly listings: KernelListings;
  readonly #clock = new ManualClock();
  readonly #kernel = new ReaddirKernel();
  readonly #options: WorldOptions;
  readonly #names: Name[] = [];
  readonly #threads: Thread[] = PIDS.map((pid) => ({
    pid,
    handle: new Handle(),
    stage: 'idle',
    began: 0,
    had: 0,
    page: [],
    sent: 0,
    sentMs: 0,
    dropped: 0,
  }));
  readonly #notices: Notice[] = [];
  readonly #trace: string[] = [];
  /** The order of what happens. */
  #now = 0;
  #cookie = 2;
  #value = 0;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.listings = options.make(this.#clock, {
      dropListing: () =>
        new Promise<void>((told) => {
          this.#notices.push({effective: false, sentMs: this.#clock.now(), told});
        }),
    });
    for (let i = 0; i < NAMES + 2; i++) {
      this.#names.push({value: 0, cookie: 0, at: 0});
      if (i % 2 === 0) this.#change(i, false);
    }
  }

  async step(step: Step): Promise<void> {
    this.#trace.push(JSON.stringify(step));
    if (step.do === 'list') await this.list(step.thread);
    else if (step.do === 'notices') await this.#deliver(0);
    else if (step.do === 'sleep') await this.#sleep(step.ms);
    else if (step.do === 'go') {
      for (let n = 0; n < step.times; n++) {
        this.#go(this.#threads[step.thread]!, step.count);
        await settled();
      }
    } else this.#happen(step);
    await settled();
  }

  /** Everything that is under way comes to its end. */
  async quiet(): Promise<void> {
    for (let busy = true; busy; ) {
      await this.#sleep(20_000);
      const threads = this.#threads.filter(({stage}) => stage !== 'idle');
      for (const thread of threads) this.#go(thread, ALL);
      await settled();
      busy = threads.length > 0 || this.#clock.timers > 0 || this.#notices.length > 0;
    }
  }

  /** How often the daemon is asked for what remains of a listing. */
  async list(thread: number): Promise<number> {
    const {listed, asked} = this;
    for (let n = 0; n < 40 && this.listed === listed; n++) {
      this.#go(this.#threads[thread]!, ALL);
      await settled();
      if (this.#threads[thread]!.stage === 'ending') await this.#deliver(0);
    }
    return this.asked - asked;
  }

  /** See `ReaddirKernel.stuck`. */
  get stuck(): boolean {
    return this.#kernel.stuck(this.#entries().map(({off}) => off));
  }

  // ---------------------------------------------------------------- the directory

  #happen(step: Step): void {
    const thread = 'thread' in step ? this.#threads[step.thread]! : null;
    if (thread !== null && thread.stage !== 'idle') return;
    if (step.do === 'open') thread!.handle = new Handle();
    else if (step.do === 'ask') this.listings.heard(thread!.pid);
    else if (step.do === 'notice') this.#notice();
    else if (step.do === 'lease' && this.lease === 'none') this.lease = 'held';
    else if (step.do === 'recall' && this.lease === 'held') this.#recall();
    else if (step.do === 'change' && this.lease === 'none')
      this.#change(step.name % NAMES, step.name >= NAMES);
    else if (step.do === 'local' && this.#threads.every(({stage}) => stage === 'idle')) {
      this.#change(NAMES + step.name, false);
      this.#kernel.changed();
    } else if (step.do === 'stat') this.#kernel.mtime = this.#now;
    else if (step.do === 'evict') this.#kernel.evict(step.page);
  }

  #recall(): void {
    this.lease = 'recalling';
    void this.listings.recall(OID).then(() => {
      this.lease = 'none';
      this.#trace.push('  recalled');
    });
  }

  /** `replace`: another object, if there is one. */
  #change(i: number, replace: boolean): void {
    const name = this.#names[i]!;
    name.at = ++this.#now;
    if (name.value === 0) name.cookie = ++this.#cookie;
    name.value = name.value === 0 || replace ? ++this.#value : 0;
  }

  #entries(): Entry[] {
    const names = this.#names
      .map(({value, cookie}, i) => ({name: `n${i}`, value, off: cookie}))
      .filter(({value}) => value > 0)
      .sort((a, b) => a.off - b.off);
    return [{name: '.', value: 1, off: 1}, {name: '..', value: 1, off: 2}, ...names];
  }

  // ---------------------------------------------------------------- notices

  #notice(): void {
    const [first] = this.#notices;
    if (first === undefined) return;
    if (first.effective) {
      this.#notices.shift();
      first.told();
      return;
    }
    first.effective = true;
    this.#kernel.drop();
    this.#now++;
    for (const thread of this.#threads) if (thread.stage === 'ending') thread.dropped = this.#now;
  }

  /** Those that are under way for so long. */
  async #deliver(ms: number): Promise<void> {
    while (this.#notices.length > 0 && this.#clock.now() - this.#notices[0]!.sentMs >= ms) {
      this.#notice();
      await settled();
    }
  }

  async #sleep(ms: number): Promise<void> {
    for (let slept = 0; slept < ms; ) {
      // What waits for something waits for milliseconds, or for very long.
      const nap = slept < 100 ? 1 : 1000;
      const late = this.#clock.now() + nap - this.#options.lateMs;
      for (const thread of this.#threads)
        if (thread.stage === 'answered' && thread.sentMs < late) this.#arrive(thread, ALL);
      await this.#deliver(Math.max(0, NOTICE_MS - nap));
      await this.#clock.advance(nap);
      slept += nap;
    }
  }

  // ---------------------------------------------------------------- threads

  #go(thread: Thread, count: number): void {
    if (thread.stage === 'idle') this.#getdents(thread, count);
    else if (thread.stage === 'asked') {
      this.listings.heard(thread.pid);
      thread.stage = 'heard';
    } else if (thread.stage === 'heard') {
      thread.page = this.#entries()
        .filter(({off}) => off > thread.handle.pos)
        .slice(0, count);
      // Without a lease it may be old when it comes.
      if (this.lease === 'held') this.#answer(thread, true);
      else thread.stage = 'computed';
    } else if (thread.stage === 'computed') this.#answer(thread, false);
    else if (thread.stage === 'answered') this.#arrive(thread, count);
  }

  #getdents(thread: Thread, room: number): void {
    const {handle} = thread;
    if (handle.pos === 0) {
      thread.began = this.#now;
      handle.emitted.length = 0;
    }
    handle.room = room;
    thread.had = handle.emitted.length;
    if (this.#kernel.read(handle)) {
      this.asked++;
      thread.stage = 'asked';
      this.#tell(thread, `asks for ${handle.pos}`);
    } else {
      this.#tell(thread, 'is given what is cached');
      this.#return(thread);
    }
  }

  #answer(thread: Thread, leased: boolean): void {
    const {page, pid} = thread;
    this.#tell(thread, `is answered ${leased ? 'under' : 'without'} a lease: ${names(page)}`);
    const send = (): void => {
      thread.stage = 'answered';
      thread.sent = ++this.#now;
      thread.sentMs = this.#clock.now();
    };
    if (page.length > 0) {
      this.listings.answered(OID, pid, leased);
      send();
      return;
    }
    const wait = this.listings.ended(OID, pid, leased);
    thread.stage = 'ending';
    thread.dropped = 0;
    if (wait === null) send();
    else void wait.then(send);
  }

  #arrive(thread: Thread, count: number): void {
    const {handle, page} = thread;
    if (page.length === 0) {
      this.#tell(thread, 'has the end');
      this.#kernel.ended(handle);
      this.#return(thread);
      return;
    }
    if (this.#options.endsFirst && !this.#endsFirst(thread)) return;
    const now = page.splice(0, count);
    this.#tell(thread, `has ${names(now)}`);
    if (!now.every((entry) => this.#kernel.answered(handle, entry))) page.length = 0;
    if (page.length === 0) this.#return(thread);
  }

  /** Entries are about to arrive. False: not yet. */
  #endsFirst(thread: Thread): boolean {
    const others = this.#threads.filter((other) => other !== thread);
    if (others.some(({stage, dropped}) => stage === 'ending' && dropped > thread.sent))
      return false;
    for (const other of others)
      if (other.stage === 'answered' && other.page.length === 0) this.#arrive(other, 0);
    return true;
  }

  #return(thread: Thread): void {
    const {handle} = thread;
    thread.stage = 'idle';
    if (handle.emitted.length > thread.had) return;
    this.listed++;
    if (this.#options.strict || this.final) this.#judge(thread);
    handle.pos = 0; // rewinddir(3)
  }

  /** Names that others have not changed since the listing began are in it as they are. */
  #judge({began, handle}: Thread): void {
    for (const [i, {value, at}] of this.#names.slice(0, NAMES).entries()) {
      if (at > began) continue;
      const shown = handle.emitted.filter(({name}) => name === `n${i}`);
      const right = value === 0 ? shown.length === 0 : shown.every((e) => e.value === value);
      if (right && shown.length === Math.sign(value)) continue;
      throw new Error(`n${i} is ${value}, not ${names(shown)}\n${this.#trace.join('\n')}`);
    }
  }

  #tell(thread: Thread, what: string): void {
    this.#trace.push(`  ${this.#threads.indexOf(thread)} ${what}`);
  }
}

const names = (entries: readonly Entry[]): string =>
  entries.length === 0 ? 'nothing' : entries.map(({name, value}) => `${name}=${value}`).join(' ');
