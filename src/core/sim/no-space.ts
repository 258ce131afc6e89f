import type {Call} from './call.js';
import type {Model, Node} from './tree.js';

/** Of these nothing may have happened. */
const ALL_OR_NOTHING: ReadonlySet<Call['kind']> = new Set([
  'create',
  'mkdir',
  'symlink',
  'link',
  'rename',
  'setxattr',
  'removexattr',
  'chmod',
  'unlink',
  'rmdir',
] as const);

/** What a call that was refused for want of space may have left. None: it may not be refused for that. */
export function withoutSpace(model: Model, call: Call): Model[] {
  if (ALL_OR_NOTHING.has(call.kind)) return [model];
  const node = 'oid' in call ? model.byOid(call.oid) : null;
  if (node === null) return [];
  const contents = contentsOf(node, call);
  return contents.map((content) => model.with({...node, content}));
}

function contentsOf({content}: Node, call: Call): Node['content'][] {
  const {client} = call;
  if (call.kind === 'write') {
    const offset = call.append ? content.size : call.offset;
    return content.half(client, offset, call.bytes, call.append, true);
  }
  if (call.kind === 'truncate') return [content.halfCut(client, call.size)];
  if (call.kind === 'open' && call.truncate) return [content.halfCut(client, 0)];
  // It says that of what was written since the last one, some could not be.
  if (call.kind === 'fsync') return content.crashed(client, true);
  return [];
}
