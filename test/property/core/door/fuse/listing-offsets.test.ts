// Goal: whatever was read of a folder before, in part or whole, and whatever was made and removed in it, the kernel keeps its listing again as soon as
// it has been read to its end, and then it is what is there. Method: a twin of the kernel's cache of listings (fs/fuse/readdir.c), random stories.
import {expect, test} from '@jest/globals';
import fc from 'fast-check';
import {DOTS, ListingOffsets} from '../../../../../src/core/door/fuse/listing-offsets.js';

const OID = 7;
/** Entries in one answer. */
const PAGE = 4;

/** What the kernel has. Of pages that were dropped it knows when it looks for them. */
class Kernel {
  #kept: number[] = [];
  #at = 0;
  #complete = false;
  #dropped = false;
  #stale = false;

  /** As the mount does (KernelListings) when the lease of the folder goes, before it is changed. */
  changed(): void {
    if (this.#complete) this.#dropped = true;
    this.#stale = true;
  }

  /** Null: it asks. */
  cached(): readonly number[] | null {
    if (!this.#complete) return null;
    if (!this.#stale && !this.#dropped) return this.#kept;
    this.#kept = [];
    this.#at = 0;
    this.#complete = this.#dropped = false;
    return null;
  }

  add(position: number, cookie: number, off: number): void {
    if (this.#complete || position !== this.#at) return;
    // What goes before it was dropped.
    if (this.#dropped && this.#kept.length > 0) return;
    if (this.#kept.length === 0) this.#stale = false;
    this.#kept.push(cookie);
    this.#at = off;
  }

  end(position: number): void {
    if (this.#stale) this.#dropped = true;
    if (position === this.#at) this.#complete = true;
  }
}

class Folder {
  readonly kernel = new Kernel();
  readonly #offsets = new ListingOffsets();
  #cookies: number[] = [];
  #next = 1;

  make(count: number): void {
    this.kernel.changed();
    for (let i = 0; i < count; i++) this.#cookies.push(this.#next++);
  }

  remove(index: number): void {
    this.kernel.changed();
    this.#cookies.splice(index % Math.max(1, this.#cookies.length), 1);
  }

  /** What a program sees; `max`: it stops after so many answers. */
  list(max = Number.POSITIVE_INFINITY): readonly number[] {
    const kept = this.kernel.cached();
    if (kept !== null) return kept;
    const seen: number[] = [];
    for (let position = 0, answers = 0; answers < max; answers++) {
      const rest = this.#cookies.filter((cookie) => cookie > position - DOTS);
      const page = {
        entries: rest.slice(0, PAGE).map((cookie) => ({cookie})),
        end: rest.length <= PAGE,
      };
      if (page.entries.length === 0) {
        this.kernel.end(position);
        break;
      }
      const from = position;
      for (const [index, {cookie}] of page.entries.entries()) {
        const off = this.#offsets.behind(OID, page, index);
        expect(off).toBeGreaterThan(position);
        this.kernel.add(position, cookie, off);
        seen.push(cookie);
        position = off;
      }
      this.#offsets.answered(OID, from, position);
    }
    return seen;
  }

  get cookies(): readonly number[] {
    return this.#cookies;
  }
}

const step = fc.oneof(
  fc.record({kind: fc.constant('make' as const), n: fc.integer({min: 1, max: 6})}),
  fc.record({kind: fc.constant('remove' as const), n: fc.nat(30)}),
  fc.record({kind: fc.constant('list' as const), n: fc.constant(0)}),
  fc.record({kind: fc.constant('look' as const), n: fc.integer({min: 1, max: 3})}),
);

test('what is there is seen, always', () => {
  let kept = 0;
  fc.assert(
    fc.property(fc.array(step, {maxLength: 40, size: 'max'}), (steps) => {
      const folder = new Folder();
      for (const {kind, n} of steps) {
        if (kind === 'make') folder.make(n);
        else if (kind === 'remove') folder.remove(n);
        else if (kind === 'look') folder.list(n);
        else expect(folder.list()).toEqual(folder.cookies);
      }
      // One that finds what was dropped, one that fills, and one that reads it.
      for (let i = 0; i < 3; i++) expect(folder.list()).toEqual(folder.cookies);
      if (folder.kernel.cached() !== null) kept++;
    }),
    {numRuns: 3000, seed: 2},
  );
  // Not where what was half there had to be dropped: that inode keeps no listing any more.
  expect(kept).toBeGreaterThan(2600);
});

test('offsets fit into 31 bits as long as cookies do', () => {
  const offsets = new ListingOffsets();
  const last = (cookie: number) => offsets.behind(OID, {entries: [{cookie}], end: true}, 0);
  expect(last(1)).toBe(2 ** 31 - 1);
  expect(last(2 ** 31 - 4)).toBe(2 ** 31 - 1);
  expect(last(2 ** 31)).toBeGreaterThan(2 ** 31 + DOTS);
});

test('a listing that was read whole before is kept again, whatever its last names were', () => {
  const folder = new Folder();
  folder.make(3);
  for (let round = 0; round < 20; round++) {
    folder.list(1);
    if (round % 2 === 0) folder.make(2);
    else folder.remove(100 - round);
    for (let i = 0; i < 2; i++) folder.list();
    expect(folder.kernel.cached()).toEqual(folder.cookies);
  }
});
