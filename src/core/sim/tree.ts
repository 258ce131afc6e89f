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
  readonly xattrs: ReadonlyMap<string, string>;
  /** Client (life) -> how often it has it open. */
  readonly opens: ReadonlyMap<number, number>;
  /** A power cut may have taken some of its content: which, the next look at it tells. */
  readonly unsure: boolean;
  /** A power cut undid its creation. */
  readonly lost: boolean;
}

export const isDir = (node: Node): boolean => (node.mode & TYPE) === DIR;
export const isFile = (node: Node): boolean => (node.mode & TYPE) === FILE;

/** Without names and opens: the meta server reaps it some time soon. */
export const isGhost = (node: Node): boolean => node.nlink === 0 && node.opens.size === 0;

const EMPTY = Content.start(false);
const TRACKED = Content.start(true);

export const NODE: Omit<Node, 'key' | 'mode'> = {
  oid: null,
  nlink: 1,
  parent: 0,
  entries: new Map(),
  content: EMPTY,
  target: '',
  xattrs: new Map(),
  opens: new Map(),
  unsure: false,
  lost: false,
};

const keys = new WeakMap<Node, string>();

const xattrsKey = ({xattrs}: Node): string => [...xattrs].sort().join();

/** Of what is in the meta server's log, but the size. */
function namesKey(node: Node): string {
  const entries = [...node.entries].sort(([a], [b]) => (a < b ? -1 : 1));
  return [node.key, node.mode, node.nlink, node.parent, entries, node.target, xattrsKey(node)].join(
    '|',
  );
}

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
      xattrsKey(node),
      opens,
      node.unsure,
      node.lost,
    ].join('|');
    keys.set(node, key);
  }
  return key;
}

/** FNV-1a. */
function hash(text: string, seed: number): number {
  let value = 0x811c9dc5 ^ seed;
  for (let at = 0; at < text.length; at++)
    value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  return value;
}

/** Names as they were before some change that no sync has covered, and those before it. */
interface Past {
  readonly nodes: ReadonlyMap<number, Node>;
  readonly before: Past | null;
  readonly key: number;
}

/** What power cuts add to a state. Immutable. */
interface Cuts {
  /** How many are still to come; with none nothing of the past is kept. */
  readonly left: number;
  readonly past: Past | null;
  /** What was before the last one: caches may show it until all know. */
  readonly known: Model | null;
}

const NO_CUTS: Cuts = {left: 0, past: null, known: null};

/** What a change of a client that is going to die replaced: it is lost with the client unless somebody has looked. */
interface Undo {
  readonly client: number;
  /** By key; null: it was not there. */
  readonly before: ReadonlyMap<number, Node | null>;
  /** Those, and the directories that hold those which are none. */
  readonly touched: ReadonlySet<number>;
  readonly id: number;
}

/** Changes that their clients may not have told yet. Immutable. */
interface Delayed {
  /** Clients (lives) that are going to die. */
  readonly mortal: ReadonlySet<number>;
  readonly undos: readonly Undo[];
}

const NO_DELAY: Delayed = {mortal: new Set(), undos: []};

/** A whole file system as it should be. Immutable. */
export class Model {
  readonly #nodes: ReadonlyMap<number, Node>;
  readonly #cuts: Cuts;
  readonly #delayed: Delayed;
  #key: string | null = null;

  private constructor(nodes: ReadonlyMap<number, Node>, cuts: Cuts, delayed: Delayed) {
    this.#nodes = nodes;
    this.#cuts = cuts;
    this.#delayed = delayed;
  }

  /** An empty one, in a world with so many power cuts of the meta server, where these clients die. */
  static start(cuts: number, mortal: ReadonlySet<number> = new Set()): Model {
    const root = {...NODE, key: 0, mode: DIR | 0o755, oid: ROOT_OID, nlink: 2};
    return new Model(new Map([[0, root]]), {...NO_CUTS, left: cuts}, {mortal, undos: []});
  }

  static readonly empty = Model.start(0);

  /** Equal for states that no later observation can tell apart. */
  get key(): string {
    this.#key ??= this.#makeKey();
    return this.#key;
  }

  #makeKey(): string {
    const parts = [...this.#nodes.values()].sort((a, b) => a.key - b.key).map(nodeKey);
    const {left, past, known} = this.#cuts;
    const {undos} = this.#delayed;
    if (undos.length > 0) parts.push(undos.map(({id}) => id).join());
    if (left > 0 || known !== null) parts.push(`${left} ${past?.key ?? 0}`, known?.key ?? '');
    return parts.join('\n');
  }

  /** The content of a file that has been made. */
  get newContent(): Content {
    return this.#cuts.left > 0 ? TRACKED : EMPTY;
  }

  /** As it was before the last power cut, while somebody may not have noticed it. */
  get known(): Model | null {
    return this.#cuts.known;
  }

  withKnown(known: Model | null): Model {
    return known === this.#cuts.known
      ? this
      : new Model(this.#nodes, {...this.#cuts, known}, this.#delayed);
  }

  /** This, to be taken back to `before` by a power cut unless somebody syncs. */
  after(before: Model): Model {
    const {left, past} = before.#cuts;
    if (left === 0) return this;
    const nodes = [...before.#nodes.values()].sort((a, b) => a.key - b.key);
    const key = hash(nodes.map(namesKey).join('\n'), past?.key ?? 1);
    const next = {nodes: before.#nodes, before: past, key};
    return new Model(this.#nodes, {...this.#cuts, past: next}, this.#delayed);
  }

  /** This, after the change `id` of a client: it is told to the meta server some time later. */
  delayedSince(before: Model, client: number, id: number): Model {
    const {mortal, undos} = this.#delayed;
    if (!mortal.has(client)) return this;
    const replaced = new Map<number, Node | null>();
    const touched = new Set<number>();
    for (const [key, node] of this.#nodes) {
      const was = before.#nodes.get(key) ?? null;
      if (was === node) continue;
      replaced.set(key, was);
      touched.add(key);
      // The lease on a directory covers the files in it, and directories have leases of their own.
      if (!isDir(node)) touched.add(node.parent);
    }
    const undo = {client, before: replaced, touched, id};
    return new Model(this.#nodes, this.#cuts, {mortal, undos: [...undos, undo]});
  }

  /** Somebody else looks at these nodes: who has changed them has told everything by then. */
  seenBy(client: number, keys: readonly number[]): Model {
    const {mortal, undos} = this.#delayed;
    const telling = new Set<number>();
    for (const undo of undos)
      if (undo.client !== client && keys.some((key) => undo.touched.has(key)))
        telling.add(undo.client);
    if (telling.size === 0) return this;
    const left = undos.filter((undo) => !telling.has(undo.client));
    return new Model(this.#nodes, this.#cuts, {mortal, undos: left});
  }

  /** Everything that the client has done is told. */
  toldBy(client: number): Model {
    const {mortal, undos} = this.#delayed;
    const left = undos.filter((undo) => undo.client !== client);
    return left.length === undos.length
      ? this
      : new Model(this.#nodes, this.#cuts, {mortal, undos: left});
  }

  /** What the death of a client may leave: all that it did, or all but the last few of what it had not told. */
  crashed(client: number): Model[] {
    const {undos} = this.#delayed;
    // What it had asked for and happens later stays: it dies no more.
    const mortal = new Set([...this.#delayed.mortal].filter((one) => one !== client));
    const delayed = {mortal, undos: undos.filter((undo) => undo.client !== client)};
    const nodes = new Map(this.#nodes);
    const found = [new Model(this.#nodes, this.#cuts, delayed)];
    for (const undo of undos.filter((one) => one.client === client).reverse()) {
      for (const [key, was] of undo.before) nodes.set(key, takenBack(nodes.get(key)!, was));
      found.push(new Model(new Map(nodes), this.#cuts, delayed));
    }
    return found;
  }

  /** All names are on stable storage. */
  synced(): Model {
    return this.#cuts.past === null
      ? this
      : new Model(this.#nodes, {...this.#cuts, past: null}, this.#delayed);
  }

  /** What a power cut of the meta server may leave: names as of some time since the last sync, the latest at the end. */
  cut(): Model[] {
    const {left, past} = this.#cuts;
    const cuts = {left: left - 1, past: null, known: new Model(this.#nodes, NO_CUTS, NO_DELAY)};
    const found: Model[] = [];
    const seen = new Set<string>();
    for (let at: Past | null = {nodes: this.#nodes, before: past, key: 0}; at; at = at.before) {
      const one = new Model(this.#backTo(at.nodes), cuts, this.#delayed);
      if (seen.has(one.key)) continue;
      seen.add(one.key);
      found.unshift(one);
    }
    return found;
  }

  /** Oids that somebody has seen stay known, opens stay as they are; what was made since is gone. */
  #backTo(then: ReadonlyMap<number, Node>): Map<number, Node> {
    const nodes = new Map<number, Node>();
    for (const [key, now] of this.#nodes) {
      const was = then.get(key);
      const {oid, content} = now;
      nodes.set(
        key,
        was === undefined
          ? {...now, nlink: 0, entries: new Map(), opens: new Map(), lost: true}
          : {...was, oid, content, opens: now.opens, unsure: now.unsure || content.unsure},
      );
    }
    return nodes;
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
    return new Model(nodes, this.#cuts, this.#delayed);
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

/** A node without a change of its names and attributes; what happened to its bytes, and who has it open, stays. */
function takenBack(now: Node, was: Node | null): Node {
  if (was === null) return {...now, nlink: 0, entries: new Map(), opens: new Map(), lost: true};
  const {oid, content, opens, unsure} = now;
  return {...was, oid, content, opens, unsure};
}
