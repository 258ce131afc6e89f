import {execFile} from 'node:child_process';
import {promisify} from 'node:util';

const run = promisify(execFile);
/** `ss` of iproute2, which also ends connections where the kernel lets it. */
const PATIENCE_MS = 10_000;

interface Socket {
  near: string;
  far: string;
  line: string;
}

/** Established connections of this machine; `line` names the processes. */
async function sockets(): Promise<Socket[]> {
  const {stdout} = await run('ss', ['-Htnp', 'state', 'established'], {timeout: PATIENCE_MS});
  return stdout
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
  for (const {near, far} of ends) await end(`sport = :${portOf(near)} and dport = :${portOf(far)}`);
  return ends.length;
}

/** Does this kernel let us? */
export const canCut = (): Promise<boolean> => end('sport = :1 and dport = :1');

const end = (which: string): Promise<boolean> =>
  run('ss', ['-K', '-t', which], {timeout: PATIENCE_MS}).then(
    () => true,
    () => false,
  );
