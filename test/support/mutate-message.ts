type Below = (bound: number) => number;

/** What a field may be that no program of ours sends. */
const NUMBERS = [
  0,
  1,
  2,
  3,
  255,
  4095,
  4096,
  4097,
  65_535,
  65_536,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 40,
  2 ** 52,
  2 ** 53 - 1,
];
/** No numbers of ours: the connection ends with most of them, so they are rare. */
const BEYOND = [2 ** 53, 2 ** 64 - 2048, -1, -(2 ** 31), Number.NaN, 0.5];
/** Objects that nobody honest has: who may write may write all of them. */
const OBJECTS = [0, 1, 2 ** 31, 2 ** 32, 2 ** 40, 2 ** 40 + 1, 2 ** 52, 2 ** 53 - 1];
const OBJECT = /^(oids?|parent|newParent|more)$/;
const BYTES = [
  '',
  '.',
  '..',
  '/',
  '\0',
  'a\0b',
  '../../etc',
  'a/b',
  'x'.repeat(255),
  'x'.repeat(256),
  'x'.repeat(5000),
  '\u{10ffff}',
  '__proto__',
  'constructor',
  'lost+found',
  'trusted.x',
  'user.',
  'system.posix_acl_access',
  'cpfs.layout',
  'user.cpfs.layout',
];

/** A copy of a message with one to three of its fields another: a number, bytes, a list that is empty, long or repeats itself, a part that is missing. */
export function mutateMessage<T>(message: T, below: Below): T {
  let mutated: unknown = message;
  for (let changes = 1 + below(3); changes > 0; changes--) mutated = changed(mutated, below, 0);
  return mutated as T;
}

function changed(value: unknown, below: Below, depth: number, field = ''): unknown {
  if (typeof value === 'number')
    return OBJECT.test(field) ? OBJECTS[below(OBJECTS.length)] : someNumber(below);
  if (typeof value === 'boolean') return !value;
  if (typeof value === 'string') return BYTES[below(BYTES.length)];
  if (value instanceof Uint8Array) return changedBytes(value, below);
  if (Array.isArray(value)) return changedList(value, below, depth, field);
  if (typeof value !== 'object' || value === null) return value;
  const fields = Object.keys(value);
  if (fields.length === 0) return value;
  const chosen = fields[below(fields.length)]!;
  const {[chosen]: old, ...others} = value as Record<string, unknown>;
  if (depth > 0 && below(8) === 0) return null;
  return below(10) === 0 ? others : {...others, [chosen]: changed(old, below, depth + 1, chosen)};
}

const someNumber = (below: Below): number =>
  below(20) === 0 ? BEYOND[below(BEYOND.length)]! : NUMBERS[below(NUMBERS.length)]!;

function changedBytes(bytes: Uint8Array, below: Below): Uint8Array {
  if (bytes.length === 0 || below(2) === 0) return Buffer.from(BYTES[below(BYTES.length)]!);
  if (below(3) === 0) return bytes.slice(0, below(bytes.length));
  const copy = Uint8Array.from(bytes);
  copy[below(copy.length)]! ^= 1 << below(8);
  return copy;
}

function changedList(
  list: readonly unknown[],
  below: Below,
  depth: number,
  field: string,
): unknown[] {
  if (list.length === 0) return [someNumber(below)];
  const at = below(list.length);
  switch (below(5)) {
    case 0:
      return [];
    case 1:
      return Array.from({length: 1 + below(6000)}, () => list[at]);
    case 2:
      return [...list, ...list];
    default:
      return list.map((one, index) => (index === at ? changed(one, below, depth + 1, field) : one));
  }
}
