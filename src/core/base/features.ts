export type NodeRole = 'meta' | 'data' | 'client';

/** Something that the first release did not have. Names are never used again. */
export interface Feature {
  readonly name: string;
  /** For people. */
  readonly what: string;
  /**
   * Whoever takes part in these roles must have it before the state makes use of it: it is switched on by an administrator, and cannot be
   * taken back. None: two nodes that both have it use it.
   */
  readonly needs: readonly NodeRole[];
}

/** In the order in which they came. */
export const FEATURES = [
  {name: 'standbys', what: 'meta servers that follow the active one', needs: []},
  {name: 'backtraces', what: 'a copy of the names with the data servers', needs: []},
  {name: 'backups', what: 'backups of the meta server while it serves', needs: []},
  {name: 'upgrades', what: 'questions about releases', needs: []},
  {name: 'events', what: 'a list of what has happened of late', needs: []},
  {
    name: 'digests',
    what: 'each batch of the log says what the state was, and standbys compare theirs',
    needs: ['meta'],
  },
  {
    name: 'deeds',
    what: 'tokens for nodes that are to join, and a list of what administrators did',
    needs: ['meta'],
  },
  {name: 'limits', what: 'credentials for a part of the files', needs: []},
  {name: 'steering', what: 'levels of logs, and what waits, of each server', needs: []},
  {name: 'life', what: 'orderly shutdown, and maintenance', needs: []},
] as const satisfies readonly Feature[];

export type FeatureName = (typeof FEATURES)[number]['name'];

const ALL: readonly Feature[] = FEATURES;

/** Those that are switched on, in the order of the table. */
export const SWITCHED: readonly Feature[] = ALL.filter(({needs}) => needs.length > 0);

/** What a node is, to others. */
export interface Release {
  /** For people; empty: not known. */
  readonly name: string;
  readonly features: readonly string[];
}

/** The first one said nothing of features. */
export const FIRST_RELEASE: Release = {name: '', features: []};

/** This one; whoever runs it knows what it is called. */
export const THIS_RELEASE: Release = {name: '', features: ALL.map(({name}) => name)};

/** What a release lacks of what a cluster makes use of, in a sentence; null: nothing. */
export function lacking(used: readonly string[], {name, features}: Release): string | null {
  const unknown = used.filter((feature) => !features.includes(feature));
  if (unknown.length === 0) return null;
  const release = name === '' ? 'this release' : `release ${name}`;
  return `the cluster makes use of ${unknown.join(', ')}, which ${release} does not have: install a newer one`;
}
