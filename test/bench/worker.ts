// One step of one workload in a process of its own: `worker.js prepare|run|check NAME PLACE`, PLACE being JSON. `run`
// prints what it moved. The bench stays free to be interrupted, and the CPU time of the programs is told apart.
import {readFileSync} from 'node:fs';
import {type Moved, type Place, WORKLOADS} from './workloads.js';

export interface WorkerReport extends Moved {
  seconds: number;
  /** Of this process and of the programs it ran. */
  cpuSeconds: number;
}

/** Clock ticks of /proc/PID/stat; 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Of programs that were waited for: fields 16 and 17 of proc(5). */
function childrenCpuSeconds(): number {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[13]) + Number(fields[14])) / TICKS_PER_SECOND;
}

const [step, name, json] = process.argv.slice(2);
const workload = WORKLOADS.find((w) => w.name === name);
if (workload === undefined || json === undefined) throw new Error(`no workload ${name}`);
const place = JSON.parse(json) as Place;
if (step === 'prepare') workload.prepare(place);
else if (step === 'check') workload.check?.(place);
else {
  const before = process.cpuUsage();
  const started = performance.now();
  const moved = workload.run(place);
  const seconds = (performance.now() - started) / 1000;
  const {user, system} = process.cpuUsage(before);
  const cpuSeconds = (user + system) / 1e6 + childrenCpuSeconds();
  const report: WorkerReport = {...moved, seconds, cpuSeconds};
  process.stdout.write(`${JSON.stringify(report)}\n`);
}
