import {expect, test} from '@jest/globals';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {MetaCluster, type ToyClient} from '../../../support/meta-cluster.js';

// Listings ahead of whoever wants them: what a reply costs the meta server is bounded, whether it finds something to send or not.

const ROOT = 1;
const WHO = {mode: 0o755, caller: {uid: 0, gid: 0}};

async function folder(client: ToyClient, name: string, names: number): Promise<number> {
  const {attr} = await client.call(OPS.mkdir, {parent: ROOT, name: Buffer.from(name), ...WHO});
  for (let i = 0; i < names; i++) {
    const file = {parent: attr!.oid, name: Buffer.from(`f${i}`), ...WHO, rdev: 0};
    await client.call(OPS.mknod, {...file, mode: 0o100644});
  }
  return attr!.oid;
}

test('of directories that are too long for a reply only so many are looked at', () =>
  MetaCluster.run(async (cluster) => {
    const client = await cluster.client('a');
    const long: number[] = [];
    for (let i = 0; i < 10; i++) long.push(await folder(client, `long${i}`, 258));
    const short = await folder(client, 'short', 3);
    const found = async (oids: number[]): Promise<number[]> => {
      const {listings} = await client.call(OPS.readdirMany, {oids, max: 256, write: false});
      return listings.map(({oid}) => oid);
    };
    expect(await found([short])).toEqual([short]);
    expect(await found([...long.slice(0, 6), short])).toEqual([short]);
    expect(await found([...long, short])).toEqual([]);
  }));
