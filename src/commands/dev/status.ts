import {resolve} from 'node:path';
import {
  type DevServer,
  type DevState,
  etcdOf,
  metaAddresses,
  needDev,
} from '../../roles/dev/state.js';
import {alive} from '../../roles/process.js';
import {CpfsCommand, outputFlag, stateFlag} from '../_base.js';

export default class DevStatus extends CpfsCommand {
  static override summary = "Show the cluster's processes and its state.";
  static override examples = [
    '<%= config.bin %> dev status',
    '<%= config.bin %> dev status -o json',
  ];
  static override flags = {state: stateFlag, output: outputFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(DevStatus);
    const {fetchStatus} = await import('../../roles/admin.js');
    const {statusTable} = await import('../../roles/status-table.js');
    const dev = needDev(resolve(flags.state));
    const processes = list(dev);
    const up = dev.meta.some(alive);
    const cluster = up ? await fetchStatus(metaAddresses(dev), 5000) : null;
    if (flags.output === 'json') {
      this.log(JSON.stringify({version: 1, state: dev.state, processes, cluster}, null, 2));
      return;
    }
    for (const p of processes) {
      this.log(
        `${p.name.padEnd(8)}  ${(p.running ? 'running' : 'stopped').padEnd(7)}  ${String(p.pid).padEnd(8)}  ${p.where}`,
      );
    }
    this.log(cluster === null ? 'the meta server does not run' : statusTable(cluster));
  }
}

function list(dev: DevState) {
  const row = (role: string) => (s: DevServer) => ({
    name: `${role} ${s.index}`,
    running: alive(s),
    pid: s.pid,
    where: s.address,
  });
  return [
    ...etcdOf(dev).map((etcd) => ({
      name: 'etcd',
      running: alive(etcd),
      pid: etcd.pid,
      where: etcd.address,
    })),
    ...dev.meta.map(row('meta')),
    ...dev.data.map(row('data')),
    ...dev.mounts.map((m, i) => ({
      name: `mount ${i + 1}`,
      running: alive(m),
      pid: m.pid,
      where: m.dir,
    })),
  ];
}
