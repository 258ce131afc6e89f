import {FsError} from '../../base/errors.js';
import {parseSize} from '../../base/units.js';
import {
  formatScheme,
  GROUPS_PER_OBJECT_MAX,
  invalidLayout,
  parseScheme,
} from '../../layout/scheme.js';
import type {DirectoryLayout, Inode} from '../../namespace/inode.js';
import {LAYOUT_SET} from '../records.js';

const PREFIX = 'user.cpfs.';

export type LayoutWord = keyof typeof LAYOUT_SET;

/** Is it one of ours? EINVAL for a name of this prefix that means nothing: a misspelt one must not look set. */
export function layoutWord(name: string): LayoutWord | null {
  if (!name.startsWith(PREFIX)) return null;
  const word = name.slice(PREFIX.length);
  if (!Object.hasOwn(LAYOUT_SET, word)) throw new FsError('EINVAL', `no attribute ${name}`);
  return word as LayoutWord;
}

/** Names of the layout attributes that were set on a directory or above it. */
export function layoutNames(inode: Inode): string[] {
  const set = inode.directory?.layoutSet ?? 0;
  const words = Object.entries(LAYOUT_SET).filter(([, bit]) => (set & bit) !== 0);
  return words.map(([word]) => PREFIX + word);
}

/**
 * The value in force, whether set or not: on a directory what it gives to new children, on a file what it has. ENODATA
 * where there is no layout.
 */
export function layoutValue(inode: Inode, word: LayoutWord): string {
  const layout = inode.directory?.layout ?? inode.layout;
  if (layout === null) throw new FsError('ENODATA');
  switch (word) {
    case 'scheme':
      return formatScheme(layout);
    case 'groups':
      return String('groupCount' in layout ? layout.groupCount : layout.groups.length);
    case 'unit':
      return String(layout.unitBytes);
    case 'chunk':
      return String(layout.chunkBytes);
  }
}

/** `layout` with one attribute as written by a person: `4+2`, `3`, `64KiB`. EINVAL with the reason. */
export function withAttribute(
  layout: DirectoryLayout,
  word: LayoutWord,
  text: string,
  groupSize: number,
): DirectoryLayout {
  const next = {...layout};
  if (word === 'scheme') {
    const scheme = parseScheme(text);
    if (scheme === null) throw new FsError('EINVAL', `no scheme: ${text}`);
    Object.assign(next, scheme);
  } else if (word === 'groups') next.groupCount = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  else next[word === 'unit' ? 'unitBytes' : 'chunkBytes'] = parseSize(text) ?? 0;
  checkDirectoryLayout(next, groupSize);
  return next;
}

/** EINVAL with the reason if no file could have it. */
export function checkDirectoryLayout(layout: DirectoryLayout, groupSize: number): void {
  const reason = invalidLayout(layout);
  if (reason !== null) throw new FsError('EINVAL', reason);
  const {k, m, groupCount} = layout;
  if (k + m > groupSize)
    throw new FsError('EINVAL', `${k}+${m} needs more than ${groupSize} slots`);
  if (!Number.isInteger(groupCount) || groupCount < 1 || groupCount > GROUPS_PER_OBJECT_MAX) {
    throw new FsError('EINVAL', `groups are 1 to ${GROUPS_PER_OBJECT_MAX}`);
  }
}
