import {expect, test} from '@jest/globals';
import fc from 'fast-check';
import {ROOT_OID} from '../../../../../src/core/base/ids.js';
import {latin1} from '../../../../../src/core/base/latin1.js';
import {OPS} from '../../../../../src/core/protocol/ops.js';
import {MetaFixture} from '../../../../support/meta.js';

const word = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h');
const act = fc.oneof(
  fc.record({create: word}),
  fc.record({unlink: word}),
  fc.record({from: word, to: word, flags: fc.constantFrom(0, 2)}),
  fc.record({restart: fc.constant(true)}),
);

test('what is in a directory all the time is listed exactly once, whatever comes and goes meanwhile', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(word, {maxLength: 8}),
      fc.array(fc.tuple(act, fc.integer({min: 1, max: 3})), {maxLength: 14}),
      (start, acts) =>
        MetaFixture.run(async (f) => {
          const attempt = async (run: Promise<unknown>): Promise<void> => {
            await run.catch(() => {}); // A name that is (or is not) there: no change.
          };
          for (const name of start) await attempt(f.create(ROOT_OID, name));
          const steady = new Set(f.names(ROOT_OID));
          const seen: string[] = [];
          const scan = (cookie: number, maxEntries: number) => {
            const request = {oid: ROOT_OID, cookie, maxEntries, attributes: true};
            const page = f.query(OPS.readdir, request);
            seen.push(...page.entries.map((entry) => latin1(entry.name)));
            for (const entry of page.entries) expect(entry.attr!.oid).toBe(entry.oid);
            return page.end ? null : page.entries.at(-1)!.cookie;
          };
          let cookie: number | null = 0;
          for (const [what, maxEntries] of acts) {
            if (cookie !== null) cookie = scan(cookie, maxEntries);
            if ('create' in what) await attempt(f.create(ROOT_OID, what.create));
            if ('unlink' in what) await attempt(f.unlink(ROOT_OID, what.unlink));
            if ('from' in what) {
              await attempt(f.rename(ROOT_OID, what.from, ROOT_OID, what.to, what.flags));
            }
            if ('restart' in what) {
              f.crash(false);
              await f.boot();
            }
            const now = f.names(ROOT_OID);
            for (const name of steady) if (!now.includes(name)) steady.delete(name);
          }
          while (cookie !== null) cookie = scan(cookie, 2);
          for (const name of steady) {
            expect([name, seen.filter((one) => one === name).length]).toEqual([name, 1]);
          }
        }),
    ),
    {numRuns: 150},
  );
});

test('entries carry their type; cookies 1 and 2 are left to the dots; a removed directory is empty', () =>
  MetaFixture.run(async (f) => {
    const d = await f.mkdir(ROOT_OID, 'd');
    await f.create(ROOT_OID, 'f');
    await f.symlink(ROOT_OID, 'l', 'x');
    const request = {oid: ROOT_OID, cookie: 0, maxEntries: 10, attributes: false};
    const {entries, end, parent} = f.query(OPS.readdir, request);
    expect(entries.map((e) => e.type)).toEqual([0o4, 0o10, 0o12]);
    expect(Math.min(...entries.map((e) => e.cookie))).toBe(3);
    expect([end, parent]).toEqual([true, ROOT_OID]);
    await f.rmdir(ROOT_OID, 'd');
    expect(f.query(OPS.readdir, {...request, oid: d.oid})).toMatchObject({entries: [], end: true});
  }));
