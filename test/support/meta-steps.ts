import fc from 'fast-check';
import type {Time} from '../../src/core/protocol/gen/wire.js';
import {OPS, SET} from '../../src/core/protocol/ops.js';
import {bytes, errnoOf, type MetaFixture} from './meta.js';
import type {ModelChange, ModelTime, PosixModel} from './posix-model.js';

/** What was ever made, in order; the root comes first. */
export class Objects {
  readonly all = [1];
  readonly directories = [1];

  add(s: Step, oid: number): void {
    if (oid === 0) return;
    this.all.push(oid);
    if (s.do === 'mkdir') this.directories.push(oid);
  }

  at(index: number): number {
    const from = index < 80 ? this.directories : this.all;
    return from[index % from.length]!;
  }
}

/** A small tree to begin with, so that short stories have something to rename. */
export const PROLOGUE: readonly Step[] = [
  {do: 'mkdir', at: 0, name: 'a', mode: 0o755},
  {do: 'mkdir', at: 0, name: 'b', mode: 0o2775},
  {do: 'mkdir', at: 81, name: 'a', mode: 0o755},
  {do: 'create', at: 81, name: 'b', mode: 0o6755},
  {do: 'create', at: 82, name: 'a', mode: 0o644},
];

/** One operation on objects that are chosen by their place among all that were ever made. */
export type Step =
  | {do: 'mkdir' | 'create' | 'open-or-create'; at: number; name: string; mode: number}
  | {do: 'mknod'; at: number; name: string; mode: number}
  | {do: 'symlink'; at: number; name: string; target: string}
  | {do: 'link'; what: number; at: number; name: string}
  | {do: 'unlink' | 'rmdir' | 'lookup'; at: number; name: string}
  | {do: 'rename'; at: number; name: string; to: number; newName: string; flags: number}
  | {do: 'setattr'; what: number; change: ModelChange}
  | {do: 'setxattr'; what: number; name: string; value: string; flags: number}
  | {do: 'removexattr'; what: number; name: string}
  | {do: 'reap'; whats: number[]};

/** Below 80: among the directories that were ever made; else among all objects. */
const place = fc.nat(99);
const name = fc.oneof(
  {weight: 30, arbitrary: fc.constantFrom('a', 'b', '\xe9')},
  {weight: 1, arbitrary: fc.constantFrom('.', '..', '', 'x/y', 'n'.repeat(255), 'n'.repeat(256))},
);
const mode = fc.constantFrom(0o755, 0o644, 0o2775, 0o6755, 0o6710, 0o6644);
const xattr = fc.constantFrom(
  'user.a',
  'trusted.b',
  'security.capability',
  'system.posix_acl_access',
);
const time = fc.constantFrom('5.7', '-3.0', '1800000000.999999999');

const change: fc.Arbitrary<ModelChange> = fc.record(
  {
    mode: mode.map((m) => m & 0o7777),
    uid: fc.nat(3),
    gid: fc.nat(3),
    size: fc.constantFrom(0, 1, 5000, 2 ** 50),
    atime: time,
    mtime: time,
    kill: fc.constant(true),
  },
  {requiredKeys: []},
);

const make = (kind: 'mkdir' | 'create' | 'open-or-create'): fc.Arbitrary<Step> =>
  fc.record({do: fc.constant(kind), at: place, name, mode}) as fc.Arbitrary<Step>;
const byName = (kind: 'unlink' | 'rmdir' | 'lookup'): fc.Arbitrary<Step> =>
  fc.record({do: fc.constant(kind), at: place, name}) as fc.Arbitrary<Step>;
const tagged = <T extends object>(kind: string, fields: fc.Arbitrary<T>): fc.Arbitrary<Step> =>
  fields.map((rest) => ({do: kind, ...rest}) as unknown as Step);

export const step: fc.Arbitrary<Step> = fc.oneof(
  {weight: 4, arbitrary: make('mkdir')},
  {weight: 3, arbitrary: make('create')},
  make('open-or-create'),
  tagged(
    'mknod',
    fc.record({at: place, name, mode: fc.constantFrom(0, 0o10644, 0o20600, 0o40755)}),
  ),
  tagged('symlink', fc.record({at: place, name, target: fc.constantFrom('t', '', 'x/../y')})),
  {weight: 2, arbitrary: tagged('link', fc.record({what: place, at: place, name}))},
  {weight: 2, arbitrary: byName('unlink')},
  {weight: 2, arbitrary: byName('rmdir')},
  byName('lookup'),
  {
    weight: 6,
    arbitrary: tagged(
      'rename',
      fc.record({at: place, name, to: place, newName: name, flags: fc.constantFrom(0, 0, 1, 2, 3)}),
    ),
  },
  {weight: 3, arbitrary: tagged('setattr', fc.record({what: place, change}))},
  tagged(
    'setxattr',
    fc.record({what: place, name: xattr, value: fc.string({maxLength: 3}), flags: fc.nat(2)}),
  ),
  tagged('removexattr', fc.record({what: place, name: xattr})),
  tagged('reap', fc.record({whats: fc.array(place, {maxLength: 3})})),
);

export const modelTime = (time: Time): ModelTime => `${time.sec}.${time.nsec}`;

const wireTime = (time: ModelTime): Time => {
  const [sec, nsec] = time.split('.').map(Number);
  return {sec: sec!, nsec: nsec!};
};

function setattrRequest(oid: number, c: ModelChange) {
  const {atime, mtime, kill, ...rest} = c;
  let mask = kill ? SET.killSuidgid : 0;
  for (const key of ['mode', 'uid', 'gid', 'size', 'atime', 'mtime'] as const) {
    if (c[key] !== undefined) mask |= SET[key];
  }
  const times = {
    ...(atime === undefined ? {} : {atime: wireTime(atime)}),
    ...(mtime === undefined ? {} : {mtime: wireTime(mtime)}),
  };
  return {oid, mask, ...rest, ...times};
}

/** Does a step on the machine; returns the errno, and the object that it made (0: none). */
export async function doStep(
  f: MetaFixture,
  s: Step,
  objects: Objects,
): Promise<{errno: string | null; made: number}> {
  let made = 0;
  const errno = await errnoOf(async () => {
    made = await run(f, s, (index) => objects.at(index));
  });
  return {errno, made};
}

async function run(f: MetaFixture, s: Step, oid: (index: number) => number): Promise<number> {
  switch (s.do) {
    case 'mkdir':
      return (await f.mkdir(oid(s.at), s.name, {mode: s.mode})).oid;
    case 'create':
      return (await f.create(oid(s.at), s.name, {mode: s.mode})).oid;
    case 'open-or-create': {
      const request = {parent: oid(s.at), name: bytes(s.name), mode: s.mode};
      const reply = await f.change(OPS.create, {...request, caller: {uid: 10, gid: 20}});
      return reply.created ? reply.attr.oid : 0;
    }
    case 'mknod':
      return (await f.mknod(oid(s.at), s.name, s.mode, 77)).oid;
    case 'symlink':
      return (await f.symlink(oid(s.at), s.name, s.target)).oid;
    case 'link':
      await f.link(oid(s.what), oid(s.at), s.name);
      return 0;
    case 'unlink':
      await f.unlink(oid(s.at), s.name);
      return 0;
    case 'rmdir':
      await f.rmdir(oid(s.at), s.name);
      return 0;
    case 'lookup':
      f.lookup(oid(s.at), s.name);
      return 0;
    case 'rename':
      await f.rename(oid(s.at), s.name, oid(s.to), s.newName, s.flags);
      return 0;
    case 'setattr':
      await f.change(OPS.setattr, setattrRequest(oid(s.what), s.change));
      return 0;
    case 'setxattr':
      await f.setxattr(oid(s.what), s.name, s.value, s.flags);
      return 0;
    case 'removexattr':
      await f.removexattr(oid(s.what), s.name);
      return 0;
    case 'reap':
      await f.machine.reap(s.whats.map(oid));
      return 0;
  }
}

/** The same step on the model; `made` is the id that the machine gave. Throws FsError. */
export function modelStep(
  m: PosixModel,
  s: Step,
  objects: Objects,
  made: number,
  now: ModelTime,
): void {
  const oid = (index: number): number => objects.at(index);
  const maker = {uid: 10, gid: 20, now, oid: made};
  switch (s.do) {
    case 'mkdir':
      m.mkdir(oid(s.at), s.name, s.mode, maker);
      break;
    case 'create':
      m.create(oid(s.at), s.name, s.mode, true, maker);
      break;
    case 'open-or-create':
      m.create(oid(s.at), s.name, s.mode, false, maker);
      break;
    case 'mknod':
      m.mknod(oid(s.at), s.name, s.mode, 77, maker);
      break;
    case 'symlink':
      m.symlink(oid(s.at), s.name, s.target, maker);
      break;
    case 'link':
      m.link(oid(s.what), oid(s.at), s.name, now);
      break;
    case 'unlink':
    case 'rmdir':
      m.unlink(oid(s.at), s.name, s.do === 'rmdir', now);
      break;
    case 'lookup':
      m.lookup(oid(s.at), s.name);
      break;
    case 'rename':
      m.rename([oid(s.at), s.name], [oid(s.to), s.newName], s.flags, now);
      break;
    case 'setattr':
      m.setattr(oid(s.what), s.change, now);
      break;
    case 'setxattr':
      m.setxattr(oid(s.what), s.name, s.value, s.flags, now);
      break;
    case 'removexattr':
      m.removexattr(oid(s.what), s.name, now);
      break;
    case 'reap':
      m.forget(s.whats.map(oid).filter((one) => one !== 1));
      break;
  }
}
