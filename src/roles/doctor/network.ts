import {parseAddress} from '../../core/base/address.js';
import {messageOf} from '../../core/base/errors.js';
import {type ClusterFacts, type DoctorSystem, error, type Finding, ok, warning} from './system.js';

/** Checks of names, ports, clocks and releases. */

const SKEW_WARNING_MS = 1000;
const SKEW_ERROR_MS = 60_000;
const LOOPBACK = /^(127\.|::1$)/;

export async function ownName(system: DoctorSystem): Promise<Finding> {
  const check = 'names.own';
  const {hostname} = system;
  try {
    const addresses = await system.resolve(hostname);
    return ok(check, `${hostname} is ${addresses.join(', ')}`);
  } catch (cause) {
    return warning(
      check,
      `the name of this host, ${hostname}, has no address (${messageOf(cause)})`,
      `name it in DNS, or: echo 'ADDRESS ${hostname}' >>/etc/hosts`,
    );
  }
}

/** `others`: it is to be reached by other machines. */
export async function listening(
  system: DoctorSystem,
  role: 'meta' | 'data',
  address: string,
  others: boolean,
): Promise<Finding[]> {
  const check = `ports.${role}`;
  const parsed = parseAddress(address);
  if (parsed === null) return [error(check, `${address} is not HOST:PORT`, '--listen HOST:PORT')];
  const {host, port} = parsed;
  const findings: Finding[] = [];
  const why = await system.listens(address);
  if (why === null) findings.push(ok(check, `port ${port} is free at ${host}`));
  else if (why === 'EADDRINUSE')
    findings.push(
      warning(
        check,
        `somebody listens at ${address} already: this server, or what keeps it from starting`,
        `ss -ltnp 'sport = :${port}' shows who it is; another one: --listen`,
      ),
    );
  else if (why === 'EADDRNOTAVAIL')
    findings.push(
      error(check, `${host} is no address of this machine`, '--listen with one that ip addr shows'),
    );
  else
    findings.push(error(check, `nobody may listen at ${address} (${why})`, '--listen HOST:PORT'));
  if (others && LOOPBACK.test(host))
    findings.push(
      warning(
        `${check}.reach`,
        `${address} is reached by this machine only`,
        '--listen with an address that others reach',
      ),
    );
  return findings;
}

/** Is each of those that --meta names to be found, and does it answer? */
export async function metaServers(system: DoctorSystem, names: string): Promise<Finding[]> {
  let addresses: string[];
  try {
    addresses = await system.metas(names);
  } catch (cause) {
    return [
      error(
        'names.meta',
        messageOf(cause),
        'name the meta servers with --meta HOST:PORT,HOST:PORT',
      ),
    ];
  }
  const tried = await Promise.all(
    addresses.map(async (address) => ({address, why: await system.connects(address)})),
  );
  const answering = tried.some(({why}) => why === null);
  const bad = answering ? warning : error;
  return tried.map(({address, why}) =>
    why === null
      ? ok('reach.meta', `${address} can be connected to`)
      : bad(
          'reach.meta',
          `${address} cannot be connected to (${why})`,
          'is it running? does a firewall let the port through?',
        ),
  );
}

const seconds = (ms: number): string => `${(Math.abs(ms) / 1000).toFixed(1)} s`;

export function clockSkew({skewMs, doubtMs}: ClusterFacts): Finding {
  const check = 'clock.cluster';
  if (skewMs === null) return ok(check, 'the meta server does not say what its clock shows');
  const surely = Math.abs(skewMs) - doubtMs;
  if (surely < SKEW_WARNING_MS) return ok(check, 'the clock is that of the meta server');
  const says = `the clock is ${seconds(skewMs)} ${skewMs > 0 ? 'behind' : 'ahead of'} that of the meta server`;
  const mend = 'apt-get install chrony on all machines; chronyc makestep';
  return surely < SKEW_ERROR_MS
    ? warning(check, `${says}: times of files are off by that`, mend)
    : error(
        check,
        `${says}: times of files are wrong, credentials end too early or too late`,
        mend,
      );
}

/** Does anybody keep the clock? */
export async function clockService(system: DoctorSystem): Promise<Finding> {
  const check = 'clock.service';
  const systemd = (
    await system.output('timedatectl', 'show', '-p', 'NTPSynchronized', '--value')
  )?.trim();
  if (systemd === 'yes') return ok(check, 'the clock is kept by a time service');
  const chrony = await system.output('chronyc', '-n', 'tracking');
  if (chrony !== null && /^Leap status\s*:\s*Normal/m.test(chrony))
    return ok(check, 'the clock is kept by chrony');
  const known = systemd !== undefined || chrony !== null;
  return warning(
    check,
    known ? 'no time service keeps the clock' : 'nothing here says whether the clock is kept',
    'apt-get install chrony; systemctl enable --now chrony',
  );
}

export function releases(own: string, {release}: ClusterFacts): Finding {
  const check = 'release';
  if (own === release) return ok(check, `the cluster has this release, ${own}`);
  return warning(
    check,
    `this is release ${own}, the meta server has ${release}`,
    "'cpfs upgrade status' says what is to be done next",
  );
}

/** All that only the cluster can say. */
export async function clusterSays(system: DoctorSystem, names: string): Promise<Finding[]> {
  try {
    const facts = await system.cluster(names);
    return [releases(system.ownRelease, facts), clockSkew(facts)];
  } catch (cause) {
    return [error('cluster', messageOf(cause), "'cpfs meta status' says how the meta servers are")];
  }
}
