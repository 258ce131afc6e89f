import {ROOT_OID} from '../base/ids.js';
import {Content} from './content.js';

export const FILE = 0o100000;
export const DIR = 0o040000;
export const LINK = 0o120000;
export const TYPE = 0o170000;

/** An inode of the model. `key` is known from its creation on, `oid` from when somebody has seen it. Immutable. */
export interface Node {
  readonly key: number;
  readonly oid: number | null;
  readonly mode: number;
  readonly nlink: number;
  readonly parent: number;
  readonly entries: ReadonlyMap<string, number>;
  readonly content: Content;
  readonly target: string;
  /** Client (life) -> how often it has it open. */
  readonly opens: ReadonlyMap<number, number>;
}

export const isDir = (node: Node): boolean => (node.mode & TYPE) === DIR;
export const isFile = (node: Node): boolean => (node.mode & TYPE) === FILE;

/** Without names and opens: the meta server reaps it some time soon. */
export const isGhost = (node: Node): boolean => node.nlink === 0 && node.opens.size === 0;

export const NODE: Omit<Node, 'key' | 'mode'> = {
  oid: null,
  nlink: 1,
  parent: 0,
  entries: new Map(),
  content: Content.empty,
  target: '',
  opens: new Map(),
};

const keys = new WeakMap<Node, string>();

function nodeKey(node: Node): string {
  let key = keys.get(node);
  if (key === undefined) {
    const entries = [...node.entries].sort(([a], [b]) => (a < b ? -1 : 1));
    const opens = [...node.opens].sort(([a], [b]) => a - b);
    key = [
      node.key,
      node.oid,
      node.mode,
      node.nlink,
      node.parent,
      entries,
      node.content.key,
      node.target,
      opens,
    ].join('|');
    keys.set(node, key);
  }
  return key;
}

/** A whole file system as it should be. Immutable. */
export class Model {
  readonly #nodes: ReadonlyMap<number, Node>;

  private constructor(nodes: ReadonlyMap<number, Node>) {
    this.#nodes = nodes;
  }

  static readonly empty = new Model(
    new Map([[0, {...NODE, key: 0, mode: DIR | 0o755, oid: ROOT_OID, nlink: 2}]]),
  );

  /** Equal for states that no later observation can tell apart. */
  get key(): string {
    const parts = [...this.#nodes.values()].sort((a, b) => a.key - b.key).map(nodeKey);
    return parts.join('\n');
  }

  /** Oids that have a name or are open, for audits; null for one that nobody has seen. */
  get liveOids(): (number | null)[] {
    const live = [...this.#nodes.values()].filter((node) => isFile(node) && !isGhost(node));
    return live.map((node) => node.oid);
  }

  byOid(oid: number): Node | null {
    for (const node of this.#nodes.values()) if (node.oid === oid) return node;
    return null;
  }

  get(key: number): Node | undefined {
    return this.#nodes.get(key);
  }

  child(parent: Node, name: string): Node | null {
    const key = parent.entries.get(name);
    return key === undefined ? null : (this.#nodes.get(key) ?? null);
  }

  /** The same with these nodes put in place. What has no name and no opens stays as a ghost: see `step`. */
  with(...changed: Node[]): Model {
    if (changed.every((node) => this.#nodes.get(node.key) === node)) return this;
    const nodes = new Map(this.#nodes);
    for (const node of changed) nodes.set(node.key, node);
    return new Model(nodes);
  }

  mapFiles(change: (node: Node) => Node[]): Model[] {
    let models: Model[] = [this];
    for (const node of this.#nodes.values()) {
      if (!isFile(node)) continue;
      const next = change(node);
      if (next.length === 1 && next[0] === node) continue;
      models = models.flatMap((model) => next.map((one) => model.with(one)));
    }
    return models;
  }
}
