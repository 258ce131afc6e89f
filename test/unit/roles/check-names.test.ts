// Goal: a check of the namespace finds damage, and nothing else. Method: a meta machine whose store is damaged behind its back.
import {describe, expect, test} from '@jest/globals';
import {inodesOf, namesOf} from '../../../src/core/meta/audit.js';
import * as keys from '../../../src/core/meta/keys.js';
import {encodeInode} from '../../../src/core/meta/records.js';
import type {LayeredStore} from '../../../src/core/meta/store.js';
import type {Inode} from '../../../src/core/namespace/inode.js';
import {OPS} from '../../../src/core/protocol/ops.js';
import {checkNames, type NameSource} from '../../../src/roles/check/names.js';
import {Report} from '../../../src/roles/check/report.js';
import {bytes, MetaFixture, whole} from '../../support/meta.js';

/** `between`: before each page, as if others were at work. Pages are small, so there are many. */
function sourceOf(
  f: MetaFixture,
  repair: boolean,
  between: () => Promise<void> = async () => {},
): NameSource {
  return {
    inodes: async (q) => {
      await between();
      return inodesOf(f.machine, whole(OPS.inodes, {max: 3, ...q}));
    },
    names: async (q) => {
      await between();
      return namesOf(f.machine, whole(OPS.names, {max: 3, ...q}));
    },
    mend: repair ? async (q) => void (await f.change(OPS.mend, q)) : null,
  };
}

async function found(source: NameSource): Promise<string[]> {
  const lines: string[] = [];
  const report = new Report((line) => lines.push(line));
  await checkNames(source, report);
  expect(report.unlooked).toEqual([]);
  return lines.map((line) => line.replace(/; '?cpfs check.*/, '').replace(/; nothing mends.*/, ''));
}

/** Some of everything. */
async function fill(f: MetaFixture) {
  const d = (await f.mkdir(1, 'd')).oid;
  const e = (await f.mkdir(d, 'e')).oid;
  const file = (await f.create(d, 'file')).oid;
  await f.link(file, e, 'hard');
  const open = (await f.create(e, 'removed')).oid;
  await f.unlink(e, 'removed');
  await f.symlink(e, 'sym', 'target');
  await f.setxattr(file, 'user.x', 'y');
  for (let i = 0; i < 10; i++) await f.create(e, `f${i}`);
  return {d, e, file, open};
}

const damage = (f: MetaFixture, how: (store: LayeredStore) => void): void =>
  f.machine.audit((tx) => how(tx.store));

function change(f: MetaFixture, oid: number, how: (inode: Inode) => void): void {
  f.machine.audit((tx) => {
    const inode = tx.inode(oid);
    how(inode);
    tx.store.put(keys.inodeKey(oid), encodeInode(inode));
  });
}

describe('names', () => {
  test('nothing is wrong with a namespace that nobody has damaged', () =>
    MetaFixture.run(async (f) => {
      await fill(f);
      expect(await found(sourceOf(f, false))).toEqual([]);
    }));

  test('each damage is found, and what can be mended is', () =>
    MetaFixture.run(async (f) => {
      const {d, e, file, open} = await fill(f);
      const lost = f.lookup(e, 'f3').oid;
      const dangling = f.lookup(e, 'f4').oid;
      const unlisted = f.machine.audit((tx) => tx.name(e, 'f5')!);
      const linkless = f.lookup(e, 'sym').oid;
      change(f, file, (inode) => {
        inode.nlink = 5;
      });
      change(f, d, (inode) => {
        inode.nlink = 2;
      });
      damage(f, (store) => {
        const {cookie} = f.machine.audit((tx) => tx.name(e, 'f3')!);
        store.del(keys.nameKey(e, 'f3'));
        store.del(keys.entryKey(e, cookie));
        store.del(keys.inodeKey(dangling));
        store.del(keys.entryKey(e, unlisted.cookie));
        store.del(keys.targetKey(linkless));
        store.del(keys.orphanKey(open));
      });
      const all = [
        '/d/e/f4: it is the name of nothing',
        '/d/e/f5: listings do not show it',
        `object ${d} (/d): it has 2 links, not 3`,
        `object ${file}: it has 5 links, not 2`,
        `object ${lost}: it has 1 links, but no name`,
        `object ${open}: it has no links, but is not listed as one without a name`,
        `object ${linkless} (/d/e/sym): the symbolic link has no target`,
      ];
      expect((await found(sourceOf(f, false))).sort()).toEqual(all.sort());
      const mended = await found(sourceOf(f, true));
      expect(mended.filter((line) => line.endsWith('mended')).length).toBe(5);
      expect((await found(sourceOf(f, false))).length).toBe(2);
      expect(f.attr(file).nlink).toBe(2);
      expect(f.lookup(1, `lost+found-${lost}`).oid).toBe(lost);
      expect(f.names(e)).toContain('f5');
      expect(f.names(e)).not.toContain('f4');
    }));

  test('a directory that is in itself is not below the root', () =>
    MetaFixture.run(async (f) => {
      const {d, e} = await fill(f);
      // As if a rename had put d into e.
      damage(f, (store) => {
        const record = store.get(keys.nameKey(1, 'd'))!;
        const {cookie} = f.machine.audit((tx) => tx.name(1, 'd')!);
        const entry = store.get(keys.entryKey(1, cookie))!;
        store.del(keys.nameKey(1, 'd'));
        store.del(keys.entryKey(1, cookie));
        store.put(keys.nameKey(e, 'd'), record);
        store.put(keys.entryKey(e, cookie), entry);
      });
      change(f, d, (inode) => {
        inode.directory!.parent = e;
      });
      const lines = await found(sourceOf(f, false));
      for (const oid of [d, e])
        expect(lines).toContainEqual(
          expect.stringMatching(new RegExp(`^object ${oid}.*not below the root`)),
        );
    }));

  test('what changes while it is looked at is no damage (seeds 1 to 5)', async () => {
    for (let seed = 1; seed <= 5; seed++)
      await MetaFixture.run(async (f) => {
        const {d, e, file} = await fill(f);
        let at = 0;
        // Names go to and fro between two directories, over the cursor of whoever counts them; links come and go.
        const busy = async (): Promise<void> => {
          at++;
          if (at > 40) return;
          const [from, to] = at % 2 === 1 ? [e, d] : [d, e];
          await f.rename(from, 'hard', to, 'hard');
          await f.link(file, at % 3 === 0 ? 1 : e, `more${at}`);
          await f.mkdir(from, `dir${at}`);
          if (at % 2 === 0) await f.rename(to, `dir${at - 1}`, from, `dir${at - 1}`);
        };
        expect(await found(sourceOf(f, false, busy))).toEqual([]);
      }, seed);
  });

  test('what was changed since it was found is not mended', () =>
    MetaFixture.run(async (f) => {
      const {file, e} = await fill(f);
      const {version} = f.attr(file);
      await f.link(file, e, 'third');
      await expect(f.change(OPS.mend, {oid: file, version, links: 2})).rejects.toThrow('EAGAIN');
      await expect(f.change(OPS.mend, {parent: e, name: bytes('third')})).rejects.toThrow('EAGAIN');
      expect(f.attr(file).nlink).toBe(3);
    }));
});
