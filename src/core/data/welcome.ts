import {Refusal} from '../base/errors.js';
import type {HelloRequest} from '../protocol/gen/wire.js';
import type {Gate} from './gate.js';

/** Refusals: whoever says this hello is not let in. An administrator is, with or without a map, and whichever server he expected. */
export function welcomed(
  q: HelloRequest,
  {gate, uuid, cluster}: {gate: Gate; uuid: string; cluster: string},
): void {
  if (q.cluster !== '' && q.cluster !== cluster)
    throw new Refusal('WrongServer', `this server is of cluster ${cluster}`);
  if (q.role === 'admin') return;
  if (gate.map === null) throw new Refusal('Busy', 'no map yet');
  if (q.server !== uuid) throw new Refusal('WrongServer', `this is ${uuid}, asked was ${q.server}`);
  if (q.session === 0 && q.role !== 'data')
    throw new Refusal('NoSession', 'register with the meta server first');
  if (gate.isFenced(q.session)) throw new Refusal('Fenced', `session ${q.session}`);
}
