/** What a person is told to do about most findings. */
export const REPAIR_MENDS = "'cpfs check --repair' mends it";

/** One thing that is wrong. Stable: fields are added, never changed. What a finding is not about is null. */
export interface Finding {
  kind: 'name' | 'inode' | 'column' | 'leak' | 'file';
  inode: number | null;
  path: string | null;
  chunk: number | null;
  column: number | null;
  group: number | null;
  slot: number | null;
  /** Address of the server. */
  server: string | null;
  /** In the folder of the server. */
  file: string | null;
  /** What is wrong, and what to do. */
  what: string;
  todo: string;
  mended: boolean;
}

const NOTHING: Omit<Finding, 'kind' | 'what' | 'todo'> = {
  inode: null,
  path: null,
  chunk: null,
  column: null,
  group: null,
  slot: null,
  server: null,
  file: null,
  mended: false,
};

/** What comes beyond these is counted, not kept. */
const KEPT_MAX = 10_000;
/** Different reasons why something was not looked at. */
const REASONS_MAX = 100;

export interface Looked {
  names: number;
  inodes: number;
  chunks: number;
  columns: number;
}

/** What a check has found; `say` gets each finding, and what was done about it, as one line. */
export class Report {
  readonly looked: Looked = {names: 0, inodes: 0, chunks: 0, columns: 0};
  readonly findings: Finding[] = [];
  readonly #unlooked = new Map<string, number>();
  readonly #say: (line: string) => void;
  found = 0;
  mended = 0;

  constructor(say: (line: string) => void) {
    this.#say = say;
  }

  add(finding: Partial<Finding> & Pick<Finding, 'kind' | 'what' | 'todo'>): void {
    const whole: Finding = {...NOTHING, ...finding};
    this.found++;
    if (whole.mended) this.mended++;
    if (this.findings.length < KEPT_MAX) this.findings.push(whole);
    this.#say(`${subject(whole)}: ${whole.what}; ${whole.mended ? 'mended' : whole.todo}`);
  }

  /** Something could not be looked at; that is what the check says nothing about. */
  miss(reason: string): void {
    const known = this.#unlooked.has(reason) || this.#unlooked.size < REASONS_MAX;
    const counted = known ? reason : 'other';
    this.#unlooked.set(counted, (this.#unlooked.get(counted) ?? 0) + 1);
  }

  get left(): number {
    return this.found - this.mended;
  }

  get unlooked(): {reason: string; times: number}[] {
    return [...this.#unlooked].map(([reason, times]) => ({reason, times}));
  }
}

function subject(one: Finding): string {
  const parts: string[] = [];
  if (one.inode !== null) parts.push(`object ${one.inode}`);
  if (one.path !== null) parts.push(one.inode === null ? one.path : `(${one.path})`);
  if (one.chunk !== null) parts.push(`chunk ${one.chunk}`);
  if (one.column !== null) parts.push(`column ${one.column}`);
  if (one.slot !== null) parts.push(`on slot ${one.group}.${one.slot}`);
  const place = [one.server, one.file].filter((text) => text !== null).join(' ');
  if (place !== '') parts.push(one.inode === null ? place : `(${place})`);
  return parts.join(' ');
}
