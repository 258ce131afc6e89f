/** Randomness; under a seed in the simulator. */
export interface Random {
  /** 0 <= x < 1. */
  float(): number;
  /** An integer, 0 <= x < bound. */
  below(bound: number): number;
  /** Lower-case hex of `bytes` random bytes; for ids that must not clash. */
  hex(bytes: number): string;
}
