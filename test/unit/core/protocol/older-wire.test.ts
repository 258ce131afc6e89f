// Goal: what a release of the kept date says on the wire is understood today, and stays the same when
// it is encoded again. Method: messages with all fields set, encoded by the schema of that date (docs/upgrade.md).
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {describe, expect, test} from '@jest/globals';
import {FEATURES} from '../../../../src/core/base/features.js';
import * as wire from '../../../../src/core/protocol/gen/wire.js';
import {OPS, PROTOCOL_OLDEST} from '../../../../src/core/protocol/ops.js';
import {ROOT} from '../../../support/source-tree.js';

interface KeptMessage {
  type: string;
  /** Hexadecimal. */
  bytes: string;
  fields: Record<string, unknown>;
}
interface KeptOp {
  code: number;
  name: string;
  request: string;
  reply: string;
  mutates: boolean;
  payload: string;
}

const folder = join(ROOT, 'test/fixtures/wire/2026-11-23');
const kept = <T>(name: string): T => JSON.parse(readFileSync(join(folder, name), 'utf8')) as T;
const messages = kept<KeptMessage[]>('messages.json');
const {protocolVersion, ops} = kept<{protocolVersion: number; ops: KeptOp[]}>('ops.json');
const codecs = wire as unknown as Record<string, wire.Codec<object>>;

/** Bytes as the fixtures have them, and no prototypes. */
const plain = (message: object): unknown =>
  JSON.parse(
    JSON.stringify(message, (_, value: unknown) => {
      if (Buffer.isBuffer(value)) return {hex: value.toString('hex')};
      if (value instanceof Uint8Array) return {hex: Buffer.from(value).toString('hex')};
      const json = value as {type?: string; data?: number[]} | null;
      if (json?.type === 'Buffer' && Array.isArray(json.data))
        return {hex: Buffer.from(json.data).toString('hex')};
      return value;
    }),
  );

describe('messages of 2026-11-23', () => {
  test.each(messages)('$type is decoded to the fields that were encoded', (one) => {
    const codec = codecs[one.type];
    expect(codec).toBeDefined();
    const decoded = codec!.decode(Buffer.from(one.bytes, 'hex'));
    expect(plain(decoded)).toMatchObject(one.fields);
    expect(codec!.check(decoded)).toBe(null);
  });

  test.each(messages)('$type has the same fields when it is encoded again', (one) => {
    const codec = codecs[one.type]!;
    const decoded = codec.decode(Buffer.from(one.bytes, 'hex'));
    // Fields that came since then have their defaults here, and proto3 leaves those away or sends them as defaults:
    // so only what is known to the older schema is given.
    const known = Object.fromEntries(
      Object.entries(decoded).filter(([name]) => name in one.fields),
    );
    const bytes = Buffer.from(codec.encode(known));
    expect(plain(codec.decode(bytes))).toMatchObject(one.fields);
  });
});

describe('operations of 2026-11-23', () => {
  test('all are there, with the same code, messages and payload', () => {
    const now = Object.values(OPS).map(({request, reply, ...rest}) => ({
      ...rest,
      request: request.name,
      reply: reply.name,
    }));
    for (const op of ops) expect(now).toContainEqual({...op, since: null});
    expect(protocolVersion).toBeGreaterThanOrEqual(PROTOCOL_OLDEST);
  });

  test('what came later names its feature, so that nobody is sent what he does not know', () => {
    const then = new Set(ops.map(({code}) => code));
    const later = Object.values(OPS).filter(({code}) => !then.has(code));
    expect(later.map(({name}) => name)).toContain('data.backtrace');
    const names = FEATURES.map(({name}) => name);
    for (const {name, since} of later) expect([name, names.includes(since!)]).toEqual([name, true]);
  });

  test('codes are given once', () => {
    const codes = Object.values(OPS).map(({code}) => code);
    expect(new Set(codes).size).toBe(codes.length);
  });
});
