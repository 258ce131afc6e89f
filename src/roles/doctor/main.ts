import {EXIT} from '../cli-error.js';
import {diskFindings} from './disk.js';
import {
  allowOther,
  fuseDevice,
  ioUring,
  lockedMemory,
  memory,
  mountEngine,
  openFiles,
} from './host.js';
import {clockService, clusterSays, listening, metaServers, ownName} from './network.js';
import type {DoctorOptions, DoctorSystem, Finding} from './system.js';

/** What `cpfs doctor -o json` prints. Stable: fields are added, never changed. */
export interface DoctorResult {
  version: 1;
  findings: Finding[];
  exit: number;
}

/** Meta servers of this very machine. */
const OWN = /^(127\.|localhost:|\[::1\])/;

/** Looks at everything that these roles need here. Changes nothing but a small file in each folder, which it removes again. */
export async function examine(options: DoctorOptions, system: DoctorSystem): Promise<DoctorResult> {
  const {roles, states, listen, meta} = options;
  const servers = (['meta', 'data'] as const).filter((role) => roles.includes(role));
  const findings: Finding[] = [openFiles(system), memory(system, roles)];
  if (roles.includes('mount'))
    findings.push(fuseDevice(system), mountEngine(system), allowOther(system));
  if (servers.length > 0) findings.push(ioUring(system), lockedMemory(system));
  const others = meta !== null && !OWN.test(meta);
  for (const role of servers) {
    findings.push(...(await listening(system, role, listen[role], others)));
    const folder = states[role];
    if (folder === null) continue;
    const direct = role === 'data' && options.direct;
    for (const one of diskFindings(await system.disk(folder), folder, direct))
      findings.push(servers.length > 1 ? {...one, check: `${one.check}.${role}`} : one);
  }
  findings.push(await ownName(system), await clockService(system));
  if (meta !== null) {
    const reached = await metaServers(system, meta);
    findings.push(...reached);
    if (reached.some(({level}) => level === 'ok'))
      findings.push(...(await clusterSays(system, meta)));
  }
  return {version: 1, findings, exit: exitOf(findings)};
}

function exitOf(findings: readonly Finding[]): number {
  if (findings.some(({level}) => level === 'error')) return EXIT.failed;
  return findings.some(({level}) => level === 'warning') ? EXIT.degraded : EXIT.ok;
}
