/** Exit codes of every command; an interface that scripts use. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  conflict: 4,
  permission: 5,
  unavailable: 6,
  timeout: 7,
  degraded: 8,
  refused: 9,
  interrupted: 130,
} as const;

/** An error for a person: one sentence that ends with the next step, and an exit code. */
export class CliError extends Error {
  override readonly name = 'CliError';
  constructor(
    message: string,
    readonly exit: number = EXIT.failed,
  ) {
    super(message);
  }
}
