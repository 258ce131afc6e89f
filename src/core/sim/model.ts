import type {Errno} from '../base/errno.js';
import {type Call, NAMING, ONLY_OID, type Outcome, type Seen} from './call.js';
import type {Content} from './content.js';
import {withoutSpace} from './no-space.js';
import {
  DIR,
  FILE,
  isDir,
  isFile,
  isGhost,
  LINK,
  type Model,
  NODE,
  type Node,
  TYPE,
} from './tree.js';

const NAME_FLAGS = {noReplace: 1, exchange: 2};
const XATTR_FLAGS = {create: 1, replace: 2};

/** What a call may lead to: states that explain its outcome; none if there is no explanation. */
export type Step = (model: Model, call: Call, outcome: Outcome | null, id: number) => Model[];

class Refused {
  constructor(readonly errnos: readonly Errno[]) {}
}

const refuse = (...errnos: Errno[]): never => {
  throw new Refused(errnos);
};

/**
 * One call on one state. `outcome` null: the client died before it was told, so only what the call would have
 * done counts. `id` names the inode that it makes.
 */
export const step: Step = (model, call, outcome, id) => {
  if (call.kind === 'cut') return model.cut();
  if (call.kind === 'cut-known') return [model.withKnown(null)];
  const settled = outcome === null ? model : model.seenBy(call.client, looksAt(model, call));
  if (settled !== model) return step(settled, call, outcome, id);
  const found = sure(model, call).flatMap((one) => stepSure(one, call, outcome, id));
  const {known} = model;
  if (known === null) return found;
  const [before] = stepSure(known, call, outcome, id);
  if (found.length > 0) return found.map((one) => one.withKnown(before ?? known));
  // Who has not noticed the power cut yet answers from what was before it.
  return before !== undefined && LOOKS.has(call.kind) ? [model.withKnown(before)] : [];
};

/** Calls that a client may answer from what it has cached. */
const LOOKS: ReadonlySet<Call['kind']> = new Set([
  'lookup',
  'getattr',
  'readdir',
  'readlink',
  'read',
  'getxattr',
  'listxattr',
] as const);
/** Calls that tell something of the content of their object. */
const TELLING: ReadonlySet<Call['kind']> = new Set([
  ...LOOKS,
  'open',
  'create',
  'write',
  'truncate',
  'chmod',
] as const);
/** Changes of names and attributes, which are in the meta server's log. */
const LOGGED: ReadonlySet<Call['kind']> = new Set([
  ...NAMING,
  'chmod',
  'setxattr',
  'removexattr',
] as const);

/** Nodes that nobody can look at before who has changed them has said so. Bytes are read under a lease of their own. */
function looksAt(model: Model, call: Call): number[] {
  if (call.kind === 'read' || call.kind === 'release' || call.kind === 'write') return [];
  const keys: number[] = [];
  const add = (node: Node | null): void => {
    if (node !== null) keys.push(node.key);
  };
  if ('oid' in call) add(model.byOid(call.oid));
  for (const [oid, name] of [
    'parent' in call ? [call.parent, 'name' in call ? call.name : null] : [],
    'newParent' in call ? [call.newParent, call.newName] : [],
  ] as [number?, (string | null)?][]) {
    const parent = oid === undefined ? null : model.byOid(oid);
    add(parent);
    if (parent !== null && typeof name === 'string') add(model.child(parent, name));
  }
  return keys;
}

/** The same, in each way in which a power cut may have left the object that the call is about to look at. */
function sure(model: Model, call: Call): Model[] {
  if (!TELLING.has(call.kind)) return [model];
  const parent = 'parent' in call ? model.byOid(call.parent) : null;
  const node =
    'oid' in call
      ? model.byOid(call.oid)
      : parent !== null && 'name' in call
        ? model.child(parent, call.name)
        : null;
  if (node === null || !node.unsure) return [model];
  return node.content.cut().map((content) => model.with({...node, content, unsure: false}));
}

function stepSure(model: Model, call: Call, outcome: Outcome | null, id: number): Model[] {
  const found = stepOne(model, call, outcome, id);
  if (call.kind === 'fsync') return found.map((next) => next.synced().toldBy(call.client));
  if (!LOGGED.has(call.kind)) return found;
  return found.map((next) =>
    next === model ? next : next.after(model).delayedSince(model, call.client, id),
  );
}

const stepOne: Step = (model, call, outcome, id) => {
  // The meta server may have reaped it by now, or not yet.
  if (outcome !== null && 'errno' in outcome && ['ENOENT', 'ESTALE'].includes(outcome.errno)) {
    const node = 'oid' in call ? model.byOid(call.oid) : null;
    if (node !== null && isGhost(node)) return [model];
  }
  // Programs know whether they have to expect it.
  if (outcome !== null && 'errno' in outcome && outcome.errno === 'EIO') {
    if (call.kind === 'fsync') return [model];
    if (call.kind === 'write') return failedWrite(model, call);
  }
  if (outcome !== null && 'errno' in outcome && outcome.errno === 'ENOSPC')
    return withoutSpace(model, call);
  try {
    const next = act(model, call, outcome, id);
    return outcome === null || !('errno' in outcome) ? next : [];
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (outcome === null) return [model];
    return 'errno' in outcome && error.errnos.includes(outcome.errno) ? [model] : [];
  }
};

function directory(model: Model, oid: number): Node {
  const node = model.byOid(oid) ?? refuse('ENOENT', 'ESTALE');
  return isDir(node) ? node : refuse('ENOTDIR');
}

/** A directory in which something is to be made. */
function living(model: Model, oid: number): Node {
  const node = directory(model, oid);
  return node.nlink === 0 ? refuse('ENOENT', 'ESTALE') : node;
}

function existing(model: Model, oid: number): Node {
  return model.byOid(oid) ?? refuse('ENOENT', 'ESTALE');
}

function act(model: Model, call: Call, outcome: Outcome | null, id: number): Model[] {
  const {client} = call;
  switch (call.kind) {
    case 'crash':
      return crash(model, client);
    case 'loss': {
      const node = model.byOid(call.oid);
      if (node === null) return [model];
      return node.content
        .crashed(client, call.full)
        .map((content) => model.with({...node, content}));
    }
    case 'cut':
    case 'cut-known':
      return [model];
    case 'lookup': {
      const node = model.child(directory(model, call.parent), call.name) ?? refuse('ENOENT');
      return observe(model, node, outcome);
    }
    case 'getattr':
      return observe(model, existing(model, call.oid), outcome);
    case 'readdir':
      return list(model, directory(model, call.oid), outcome);
    case 'readlink': {
      const node = existing(model, call.oid);
      if ((node.mode & TYPE) !== LINK) refuse('EINVAL');
      return outcome === null || ('target' in outcome && outcome.target === node.target)
        ? [model]
        : [];
    }
    case 'create':
    case 'mkdir':
    case 'symlink':
      return make(model, call, outcome, id);
    case 'link':
      return link(model, call, outcome);
    case 'unlink':
    case 'rmdir':
      return remove(model, call);
    case 'rename':
      return rename(model, call);
    case 'setxattr':
    case 'getxattr':
    case 'removexattr':
    case 'listxattr':
      return xattr(model, call, outcome);
    default:
      return fileAct(model, call, outcome);
  }
}

type FileCall = Extract<
  Call,
  {kind: 'open' | 'release' | 'read' | 'write' | 'truncate' | 'chmod' | 'fsync'}
>;

function fileAct(model: Model, call: FileCall, outcome: Outcome | null): Model[] {
  const {client} = call;
  const node = existing(model, call.oid);
  const content = (next: Content): Node =>
    next === node.content ? node : {...node, content: next};
  switch (call.kind) {
    case 'open': {
      if (isDir(node)) refuse('EISDIR');
      const next = call.truncate ? content(node.content.truncate(client, 0)) : node;
      const opened = withOpen(next, client, outcome);
      return observe(model.with(opened), opened, outcome);
    }
    case 'release':
      return [model.with({...node, opens: counted(node.opens, client, -1)})];
    case 'read': {
      if (outcome === null || !('bytes' in outcome)) return [model];
      const next = node.content.read(client, call.offset, call.length, outcome.bytes);
      return next === null ? [] : [model.with(content(next))];
    }
    case 'write': {
      const offset = call.append ? node.content.size : call.offset;
      // A system call does not say where an append went.
      const placed = outcome === null || 'done' in outcome;
      if (!placed && !('offset' in outcome && outcome.offset === offset)) return [];
      return [model.with(content(node.content.write(client, offset, call.bytes, call.append)))];
    }
    case 'truncate': {
      if (isDir(node)) refuse('EISDIR');
      const next = content(node.content.truncate(client, call.size));
      return observe(model.with(next), next, outcome);
    }
    case 'chmod': {
      const next = {...node, mode: (node.mode & TYPE) | call.mode};
      return observe(model.with(next), next, outcome);
    }
    case 'fsync':
      // Nobody will find it under any name.
      if (node.lost) refuse('ESTALE', 'EIO');
      return [model.with(content(node.content.synced(client)))];
  }
}

type XattrCall = Extract<Call, {kind: 'setxattr' | 'getxattr' | 'removexattr' | 'listxattr'}>;

function xattr(model: Model, call: XattrCall, outcome: Outcome | null): Model[] {
  const node = existing(model, call.oid);
  if (call.kind === 'listxattr') {
    const names = [...node.xattrs.keys()].sort().join();
    const right = outcome === null || ('names' in outcome && outcome.names.join() === names);
    return right ? [model] : [];
  }
  const {name} = call;
  const value = node.xattrs.get(name);
  if (call.kind === 'setxattr') {
    if (call.flags === XATTR_FLAGS.create && value !== undefined) refuse('EEXIST');
    if (call.flags === XATTR_FLAGS.replace && value === undefined) refuse('ENODATA');
    return [model.with({...node, xattrs: new Map(node.xattrs).set(name, call.value)})];
  }
  if (value === undefined) return refuse('ENODATA');
  if (call.kind === 'getxattr')
    return outcome === null || ('value' in outcome && outcome.value === value) ? [model] : [];
  const xattrs = new Map(node.xattrs);
  xattrs.delete(name);
  return [model.with({...node, xattrs})];
}

/** Whoever died before he was told has never used what he opened: with it, histories of many deaths would only be longer. */
function withOpen<N extends Pick<Node, 'opens'>>(
  node: N,
  client: number,
  outcome: Outcome | null,
): N {
  return outcome === null ? node : {...node, opens: counted(node.opens, client, 1)};
}

function counted(
  opens: ReadonlyMap<number, number>,
  client: number,
  change: number,
): ReadonlyMap<number, number> {
  const next = new Map(opens);
  const count = (opens.get(client) ?? 0) + change;
  if (count > 0) next.set(client, count);
  else next.delete(client);
  return next;
}

/** Somebody has got the attributes of `node`: they must be right, and they may tell its oid. */
function observe(model: Model, node: Node, outcome: Outcome | null): Model[] {
  if (outcome === null || !('attr' in outcome)) return [model];
  const seen = outcome.attr;
  if (!matches(model, node, seen)) {
    const {fallen} = node.content;
    if (fallen === null) return [];
    const shorter = {...node, content: fallen};
    return observe(model.with(shorter), shorter, outcome);
  }
  return [node.oid === seen.oid ? model : model.with({...node, oid: seen.oid})];
}

function matches(model: Model, node: Node, seen: Seen): boolean {
  if (node.oid === null ? model.byOid(seen.oid) !== null : node.oid !== seen.oid) return false;
  if (seen.mode === ONLY_OID) return true;
  if (node.mode !== seen.mode || node.nlink !== seen.nlink) return false;
  return !isFile(node) || node.content.size === seen.size;
}

function list(model: Model, node: Node, outcome: Outcome | null): Model[] {
  if (outcome === null || !('entries' in outcome)) return [model];
  if (outcome.entries.length !== node.entries.size) return [];
  const learnt: Node[] = [];
  for (const entry of outcome.entries) {
    const child = model.child(node, entry.name);
    if (child === null || (child.mode & TYPE) >> 12 !== entry.type) return [];
    if (child.oid === null && model.byOid(entry.oid) === null) {
      learnt.push({...child, oid: entry.oid});
    } else if (child.oid !== entry.oid) {
      return [];
    }
  }
  return [learnt.length === 0 ? model : model.with(...learnt)];
}

function make(
  model: Model,
  call: Extract<Call, {kind: 'create' | 'mkdir' | 'symlink'}>,
  outcome: Outcome | null,
  id: number,
): Model[] {
  const {client} = call;
  const parent = living(model, call.parent);
  const there = model.child(parent, call.name);
  if (there !== null) {
    if (call.kind !== 'create' || call.exclusive) return refuse('EEXIST');
    if (isDir(there)) return refuse('EISDIR');
    if (!isFile(there)) return refuse('ELOOP', 'EINVAL', 'EEXIST');
    if (outcome !== null && 'attr' in outcome && outcome.created !== false) return [];
    const content = call.truncate ? there.content.truncate(client, 0) : there.content;
    const opened = withOpen(call.truncate ? {...there, content} : there, client, outcome);
    // Its attributes are of a moment after the open: by then it may have grown or lost its name again.
    const oid = outcome !== null && 'attr' in outcome ? outcome.attr.oid : there.oid;
    const other = oid !== there.oid && (there.oid !== null || model.byOid(oid!) !== null);
    return other ? [] : [model.with(oid === opened.oid ? opened : {...opened, oid})];
  }
  if (outcome !== null && 'attr' in outcome && outcome.created === false) return [];
  const kind = call.kind;
  const base = {...NODE, key: id, parent: parent.key};
  const made: Node =
    kind === 'mkdir'
      ? {...base, mode: DIR | 0o755, nlink: 2}
      : kind === 'symlink'
        ? {...base, mode: LINK | 0o777, target: call.target}
        : {
            ...base,
            mode: FILE | 0o644,
            opens: withOpen(NODE, client, outcome).opens,
            content: model.newContent,
          };
  const holder = {
    ...parent,
    nlink: parent.nlink + (kind === 'mkdir' ? 1 : 0),
    entries: new Map(parent.entries).set(call.name, id),
  };
  // Its attributes are of a moment after that: another program may have written to it.
  const seen =
    outcome !== null && 'attr' in outcome && isFile(made)
      ? {...outcome, attr: {...outcome.attr, size: 0}}
      : outcome;
  return observe(model.with(made, holder), made, seen);
}

function link(model: Model, call: Extract<Call, {kind: 'link'}>, outcome: Outcome | null): Model[] {
  const node = existing(model, call.oid);
  const parent = living(model, call.parent);
  if (model.child(parent, call.name) !== null)
    refuse('EEXIST', ...(isDir(node) ? ['EPERM' as const] : []));
  if (isDir(node)) refuse('EPERM');
  if (node.nlink === 0) refuse('ENOENT', 'ESTALE');
  const linked = {...node, nlink: node.nlink + 1};
  const holder = {...parent, entries: new Map(parent.entries).set(call.name, node.key)};
  // Its attributes are of a moment after the link, as those of an open.
  const seen = outcome !== null && 'attr' in outcome ? outcome.attr.oid : node.oid;
  return seen === node.oid ? [model.with(linked, holder)] : [];
}

function remove(model: Model, call: Extract<Call, {kind: 'unlink' | 'rmdir'}>): Model[] {
  const parent = directory(model, call.parent);
  const node = model.child(parent, call.name) ?? refuse('ENOENT');
  if (call.kind === 'unlink' && isDir(node)) refuse('EISDIR');
  if (call.kind === 'rmdir' && !isDir(node)) refuse('ENOTDIR');
  if (call.kind === 'rmdir' && node.entries.size > 0) refuse('ENOTEMPTY');
  const entries = new Map(parent.entries);
  entries.delete(call.name);
  const holder = {...parent, entries, nlink: parent.nlink - (isDir(node) ? 1 : 0)};
  return [model.with(holder, withoutName(node))];
}

/** One name less; a directory has no other. */
function withoutName(node: Node): Node {
  return {...node, nlink: isDir(node) ? 0 : node.nlink - 1};
}

function within(model: Model, node: Node, ancestor: Node): boolean {
  for (let at: Node | undefined = node; at !== undefined; ) {
    if (at.key === ancestor.key) return true;
    if (at.key === 0) return false;
    at = model.get(at.parent);
  }
  return false;
}

function rename(model: Model, call: Extract<Call, {kind: 'rename'}>): Model[] {
  const from = directory(model, call.parent);
  const to = living(model, call.newParent);
  const node = model.child(from, call.name) ?? refuse('ENOENT');
  const there = model.child(to, call.newName);
  const exchange = call.flags === NAME_FLAGS.exchange;
  if (call.flags === NAME_FLAGS.noReplace && there !== null) refuse('EEXIST');
  if (exchange && there === null) refuse('ENOENT');
  if (isDir(node) && within(model, to, node)) refuse('EINVAL');
  if (there !== null) {
    if (exchange && isDir(there) && within(model, from, there)) refuse('EINVAL');
    if (!exchange) replaceable(model, node, there, from);
    if (there.key === node.key) return [model];
  }
  let next = model;
  const put = (holder: number, name: string, key: number | null, links: number): void => {
    const now = next.get(holder)!;
    const entries = new Map(now.entries);
    if (key === null) entries.delete(name);
    else entries.set(name, key);
    next = next.with({...now, entries, nlink: now.nlink + links});
  };
  const links = (one: Node | null): number => (one !== null && isDir(one) ? 1 : 0);
  put(
    from.key,
    call.name,
    exchange ? there!.key : null,
    (exchange ? links(there) : 0) - links(node),
  );
  put(to.key, call.newName, node.key, links(node) - links(there));
  next = next.with({...next.get(node.key)!, parent: to.key});
  if (there !== null) {
    const now = next.get(there.key)!;
    next = next.with(exchange ? {...now, parent: from.key} : withoutName(now));
  }
  return [next];
}

/** rename(2): what `node` may not replace. */
function replaceable(model: Model, node: Node, there: Node, from: Node): void {
  if (isDir(there) && within(model, from, there)) refuse('ENOTEMPTY', 'EEXIST', 'EISDIR');
  if (isDir(node) && !isDir(there)) refuse('ENOTDIR');
  if (!isDir(node) && isDir(there)) refuse('EISDIR');
  if (isDir(there) && there.entries.size > 0 && there.key !== node.key)
    refuse('ENOTEMPTY', 'EEXIST');
}

/** Some of its blocks may have been written, and the size set. */
function failedWrite(model: Model, {client, ...call}: Call & {kind: 'write'}): Model[] {
  const node = existing(model, call.oid);
  const offset = call.append ? node.content.size : call.offset;
  const found = node.content.half(client, offset, call.bytes, call.append);
  return found.map((content) => model.with({...node, content}));
}

/** A client's death: its opens go, and what it had not synced is old or new. */
function crash(model: Model, client: number): Model[] {
  return model.crashed(client).flatMap((left) => closed(left, client));
}

function closed(model: Model, client: number): Model[] {
  return model.mapFiles((node) => {
    const opens = new Map(node.opens);
    opens.delete(client);
    const closed = opens.size === node.opens.size ? node : {...node, opens};
    if (isGhost(closed)) return [closed];
    return closed.content
      .crashed(client)
      .map((content) => (content === closed.content ? closed : {...closed, content}));
  });
}
