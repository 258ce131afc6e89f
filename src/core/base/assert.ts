/** A broken invariant: a bug of ours. The process stops with it; a server that is wrong is worse than one that is away. */
export class Bug extends Error {
  override readonly name = 'Bug';
}

/** States what must already be true. Never for a peer's bytes or a user's input: those get a reason, not a Bug. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Bug(message);
}

/** For the `default` of a switch that the compiler holds to be total. */
export function unreachable(value: never, message: string): never {
  throw new Bug(`${message}: ${String(value)}`);
}
