import {run} from '../support/dev-cluster.js';

interface Socket {
  near: string;
  far: string;
  line: string;
}

/** Established connections of this machine; `line` names the processes. */
async function sockets(): Promise<Socket[]> {
  const ran = await run('ss', ['-Htnp', 'state', 'established']);
  if (ran.code !== 0) throw new Error(`ss: ${ran.stderr}`);
  return ran.stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      // Recv-Q Send-Q Local:Port Peer:Port Process
      const [, , near, far] = line.trim().split(/\s+/);
      return {near: near!, far: far!, line};
    });
}

const portOf = (address: string): string => address.slice(address.lastIndexOf(':') + 1);

/** Ends connections as a broken network would, of a listener at `address`, of a process, or of this process with that listener. Gives how many. */
export async function cutSockets(
  {address, pid}: {address?: string; pid?: number},
  chosen: () => boolean,
): Promise<number> {
  const mine = ({near, far, line}: Socket): boolean =>
    (pid === undefined || line.includes(`pid=${pid},`)) &&
    (address === undefined || near === address || far === address);
  // Both ends are in the list; one is enough.
  const ends = (await sockets()).filter(mine).filter(chosen);
  for (const {near, far} of ends)
    await run('ss', ['-K', '-t', `sport = :${portOf(near)} and dport = :${portOf(far)}`]);
  return ends.length;
}

/** Does this kernel let us? */
export async function canCut(): Promise<boolean> {
  return (await run('ss', ['-K', '-t', 'sport = :1 and dport = :1'])).code === 0;
}
