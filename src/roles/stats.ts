import type {Log, LogFields} from '../core/env/log.js';
import type {TcpNet} from '../core/os/net-tcp.js';

/**
 * At SIGUSR2 the process logs one event `stats`: its counters since the start, CPU in microseconds. At SIGUSR1 it says what waits
 * (observe/dump.ts).
 */
export function logStatsWhenAsked(log: Log, net: TcpNet, own: () => LogFields): void {
  process.on('SIGUSR2', () => {
    const {user, system} = process.cpuUsage();
    const {framesIn, framesOut, bytesIn, bytesOut, writes} = net.stats;
    const network = {netBytesIn: bytesIn, netBytesOut: bytesOut, netWrites: writes};
    log.info('stats', {...own(), cpuUs: user + system, framesIn, framesOut, ...network});
  });
}
