// packaging/changelog, in the form that Debian has; rpm's is made of it.

const ENTRY = /^cpfs \(([^)]+)\) [^\n]*\n\n([\s\S]*?)\n\n -- ([^\n]+?) {2}([^\n]+)$/gm;

/** Its releases, the newest first. */
export function readChangelog(text) {
  return [...text.matchAll(ENTRY)].map(([, version, changes, by, date]) => ({
    version,
    changes,
    by,
    date,
  }));
}

const debianDate = (seconds) => new Date(seconds * 1000).toUTCString().replace('GMT', '+0000');

/** With an entry for this release, if it has none: that of a build between releases. */
export function changelogOf(text, version, seconds) {
  const [{version: newest, by}] = readChangelog(text);
  if (newest === version) return text;
  return `cpfs (${version}) unstable; urgency=medium\n\n  * A build of that version.\n\n -- ${by}  ${debianDate(seconds)}\n\n${text}`;
}

export function rpmChangelog(text) {
  return readChangelog(text)
    .map(({version, changes, by, date}) => {
      const [day, number, month, year] = date.replace(',', '').split(' ');
      const lines = changes
        .split('\n')
        .map((line) => line.replace(/^ {2}\* /, '- ').replace(/^ {4}/, '  '));
      return `* ${day} ${month} ${number} ${year} ${by} - ${version}-1\n${lines.join('\n')}`;
    })
    .join('\n\n');
}
