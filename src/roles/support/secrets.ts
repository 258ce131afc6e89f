const HIDDEN = '(hidden)';
/** A name that says so, but not the name of a file with it; then `=` or `:`. Quotes may be those of JSON in JSON. */
const NAME =
  '((?:password|passwd|secret|token|api[-_]?key|credential|authorization)s?(?!-file)\\\\*["\']?\\s*[:=]\\s*)';
const QUOTED = new RegExp(`${NAME}(\\\\*["'])[^\\n]*?\\2`, 'gi');
const BARE = new RegExp(`${NAME}(?:bearer |basic )?(?![\\\\"'])[^\\s"',&}]+`, 'gi');

/**
 * The text without what must not be shown: values of names that say so, credentials in URLs, keys in PEM. There is no setting that has a
 * secret; this is for what somebody has put into a log or a name all the same. Names of files with secrets stay.
 */
export const withoutSecrets = (text: string): string =>
  text
    .replace(/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----/g, HIDDEN)
    .replace(/(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@"']+@/gi, `$1${HIDDEN}@`)
    .replace(QUOTED, `$1$2${HIDDEN}$2`)
    .replace(BARE, `$1${HIDDEN}`);
