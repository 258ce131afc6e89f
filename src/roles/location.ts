import {CliError, EXIT} from './cli-error.js';

const PARTS_MAX = 8;
const CHARACTERS_MAX = 200;

/** Where a server or a mount is, outermost first (`room1/rack3/host7`); a CliError names `what`. */
export function parseLocation(text: string, what: string): string {
  const parts = text.split('/');
  const fits = parts.length <= PARTS_MAX && text.length <= CHARACTERS_MAX;
  if (!fits || parts.some((part) => part === '' || /[\s\p{Cc}]/u.test(part))) {
    throw new CliError(
      `${what} is up to ${PARTS_MAX} words with slashes between, the largest place first (room1/rack3/host7), not '${text}'`,
      EXIT.usage,
    );
  }
  return text;
}
