import {expect, test} from '@jest/globals';
import fc from 'fast-check';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {errnoOf, MetaFixture} from '../../../support/meta.js';
import {
  doStep,
  modelStep,
  modelTime,
  Objects,
  PROLOGUE,
  step,
} from '../../../support/meta-steps.js';
import {PosixModel} from '../../../support/posix-model.js';

function compareAll(f: MetaFixture, model: PosixModel, oids: readonly number[]): void {
  const alive = model.oids;
  expect(f.machine.missing(oids)).toEqual(oids.filter((oid) => !alive.includes(oid)));
  expect(f.machine.files).toBe(alive.length);
  const stats = alive.map((oid) => model.stat(oid));
  expect(f.machine.orphans(0, 1000)).toEqual(
    stats
      .filter((s) => s.nlink === 0)
      .map((s) => s.oid)
      .sort((a, b) => a - b),
  );
  for (const stat of stats) {
    const {version: _, blocks: __, xattrs: ___, ...attr} = f.attr(stat.oid);
    const [atime, mtime, ctime] = [attr.atime, attr.mtime, attr.ctime].map(modelTime);
    expect({...attr, atime, mtime, ctime}).toEqual(stat);
    const type = stat.mode & 0o170000;
    if (type === 0o120000) {
      const {target} = f.query(OPS.readlink, {oid: stat.oid});
      expect(Buffer.from(target).toString('latin1')).toBe(model.readlink(stat.oid));
    }
    if (type === 0o040000) {
      expect(f.names(stat.oid).sort()).toEqual(model.names(stat.oid));
      const {parent} = f.query(OPS.readdir, {oid: stat.oid});
      if (stat.nlink > 0) expect(parent).toBe(model.parent(stat.oid));
    }
    const xattrs = f.listxattr(stat.oid).map((name) => [name, f.getxattr(stat.oid, name)]);
    expect(xattrs).toEqual(model.xattrs(stat.oid));
  }
}

test('F11: any sequence of operations has the outcomes and the state of the plain model', async () => {
  const stories = fc.array(step, {maxLength: 80, size: 'max'});
  await fc.assert(
    fc.asyncProperty(stories, fc.boolean(), (steps, restart) =>
      MetaFixture.run(async (f) => {
        const model = new PosixModel(modelTime(f.attr(1).ctime));
        const objects = new Objects();
        for (const [index, s] of [...PROLOGUE, ...steps].entries()) {
          await f.pass(1 + (index % 3));
          const now = modelTime(f.now);
          const real = await doStep(f, s, objects);
          const wanted = await errnoOf(() => modelStep(model, s, objects, real.made, now));
          expect({...s, errno: real.errno}).toEqual({...s, errno: wanted});
          objects.add(s, real.made);
          if (restart && index % 20 === 10) {
            f.crash(false);
            await f.boot();
          }
        }
        compareAll(f, model, objects.all);
      }),
    ),
    {numRuns: 200},
  );
});
