import type {Status} from '../admin.js';
import type {MetaStatus} from '../meta/nodes.js';
import {findServer} from '../servers.js';

/** What `cpfs ok-to-stop -o json` prints. Stable: fields are added, never changed. */
export interface Verdict {
  version: 1;
  server: string;
  ok: boolean;
  why: string;
}

/** May this server be stopped, so that nothing waits for it and nothing is at risk that the redundancy does not bear? CliError: there is no such server. */
export function okToStop(status: Status, metas: MetaStatus | null, text: string): Verdict {
  const meta = metas?.servers.find(({address}) => address === text);
  if (metas !== null && meta !== undefined) return ofMeta(metas, meta);
  const spare = status.waiting.find(
    ({uuid, address}) => address === text || (text.length >= 4 && uuid.startsWith(text)),
  );
  if (spare !== undefined) {
    const copies = status.groups.some(({slots}) =>
      slots.some(({successor}) => successor === spare.uuid),
    );
    const why = copies
      ? 'it has no slot; the copy that it makes would begin again'
      : 'it has no slot';
    return {version: 1, server: spare.address, ok: true, why};
  }
  return ofData(status, text);
}

function ofData(status: Status, text: string): Verdict {
  const {group: id, slot: index} = findServer(status, text);
  const group = status.groups.find((one) => one.id === id)!;
  const own = group.slots[index]!;
  const server = `${id}.${index} (${own.address})`;
  const say = (ok: boolean, why: string): Verdict => ({version: 1, server, ok, why});
  if (own.state === 'away')
    return say(true, 'it is away already; whether its folder may go is another question');
  if (group.state === 'creating')
    return say(true, `group ${id} is being created, and nothing is stored in it`);
  if (group.bears === null)
    return say(false, 'the meta server is of a release that does not say what its groups bear');
  const others = group.slots.filter((slot) => slot.index !== index && slot.state !== 'ready');
  // Its own recovery counts already.
  const left = group.bears - (own.state === 'ready' ? 1 : 0);
  const named = others.map((slot) => `${id}.${slot.index} is ${slot.state}`).join(', ');
  if (group.state === 'failed' || (left < 0 && others.length > 0))
    return say(false, `group ${id} bears no more loss: ${named || 'it has failed'}`);
  if (left < 0) return say(false, `group ${id} has files without redundancy`);
  const rest = left === 0 ? 'no more loss' : `the loss of ${left} more`;
  const slower = own.state === 'recovering' ? '; what it rebuilds waits for it' : '';
  return say(true, `group ${id} bears ${rest} while it is away${slower}`);
}

function ofMeta(metas: MetaStatus, meta: MetaStatus['servers'][number]): Verdict {
  const say = (ok: boolean, why: string): Verdict => ({version: 1, server: meta.address, ok, why});
  if (meta.role === 'away') return say(true, 'it is away already');
  const heirs = metas.servers.filter(
    (one) => one.role === 'standby' && one.inSync && one.address !== meta.address,
  );
  if (meta.role === 'active') {
    if (heirs.length === 0)
      return say(
        false,
        'it is the active meta server, and no other one can take over: the file system would wait',
      );
    if (metas.how === 'by hand')
      return say(
        false,
        "it is the active meta server, and nobody takes over by himself: 'cpfs meta promote' another one",
      );
    return say(true, `${heirs[0]!.address} can take over: programs wait for some seconds`);
  }
  return heirs.length > 0
    ? say(true, `${heirs.length} others can take over`)
    : say(false, 'no other one could take over if the active one is lost meanwhile');
}
