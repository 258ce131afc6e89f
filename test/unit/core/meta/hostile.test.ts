// Goal: what a client may say, and no program of ours says, is refused, and ends nothing (C100). Method: the meta server in the simulator, and the requests with which a fuzzer has
// ended it.
import {expect, test} from '@jest/globals';
import {FsError} from '../../../../src/core/base/errors.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {MetaCluster} from '../../../support/meta-cluster.js';

const time = {sec: 1, nsec: 0};

const refused = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'done',
    (error: unknown) => (error instanceof FsError ? error.errno : String(error)),
  );

test('a change without its caller among those of a flush', () =>
  MetaCluster.run(async (c) => {
    const client = await c.client('a');
    await client.call(OPS.lease, {oid: 1, mode: 2, directory: true});
    const {first} = await client.call(OPS.reserve, {count: 1});
    const made = {parent: 1, name: Buffer.from('x'), mode: 0o100644, exclusive: true};
    const change = {code: OPS.create.code, request: OPS.create.request.encode(made)};
    const changes = [{...change, oid: first, groups: [1], now: time}];
    expect(await refused(client.call(OPS.flush, {changes}))).toBe('EINVAL');
    await client.create('y');
  }));

test('more objects than an answer can tell of', () =>
  MetaCluster.run(async (c) => {
    const client = await c.client('a');
    const {oid} = (await client.create('x')).attr;
    const items = Array.from({length: 5_000}, () => ({oid, hasAtime: true, atime: time}));
    expect(await refused(client.call(OPS.flush, {items: items as never}))).toBe('EINVAL');
    const oids = Array.from({length: 100_000}, () => oid);
    expect(await refused(client.call(OPS.exists, {oids}))).toBe('EINVAL');
    await client.create('y');
  }));

test('who asks for leases of files in a directory that another one holds, and goes', () =>
  MetaCluster.run(async (c) => {
    const [holder, asking] = [await c.client('holder'), await c.client('asking')];
    const {oid} = (await holder.create('x')).attr;
    await holder.yield(oid, 0);
    holder.stubborn = true;
    const made = {parent: 1, name: Buffer.from('d'), mode: 0o40755, caller: {uid: 0, gid: 0}};
    const directory = (await holder.call(OPS.mkdir, made)).attr!.oid;
    const {attr} = await holder.call(OPS.create, {
      ...{parent: directory, name: Buffer.from('f'), mode: 0o100644, caller: made.caller},
      open: false,
    });
    await holder.call(OPS.lease, {oid: directory, mode: 2, directory: true});
    await holder.call(OPS.yieldLease, {oid: attr.oid, keep: 0});
    expect((await asking.call(OPS.leaseMany, {oids: [attr.oid]})).leases).toEqual([]);
    asking.peer.close('gone');
    await c.pass(1_000);
    await holder.create('y');
  }));
