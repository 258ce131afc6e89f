// Serves a memory file system on a folder until it is unmounted. usage: memory-fuse-main.js DIR [JSON options]
// Prints "ready MINOR", and at the end one line of JSON with its counters and CPU time. For tests that kill the
// server, run it as another user, or measure it apart from its clients.
import {DeviceFuseChannel} from '../../src/core/os/fuse-channel.js';
import {cleanDeadMount, mountedOn, mountFuse, unmount} from '../../src/core/os/mount-point.js';
import {MEMORY_BYTES, MemoryFuse, type MemoryFuseOptions} from './memory-fuse.js';

const dir = process.argv[2]!;
const options = JSON.parse(process.argv[3] ?? '{}') as MemoryFuseOptions & {
  helper?: boolean;
  allowOther?: boolean;
};
await cleanDeadMount(dir); // As every mount does: an earlier one may have died here.
const {device, by} = await mountFuse({
  dir,
  source: 'cpfs-test',
  allowOther: options.allowOther ?? true,
  defaultPermissions: true,
  maxReadBytes: 1 << 20,
  noSuid: true,
  noDev: true,
  noExec: false,
  helper: options.helper,
});
const memory = new ArrayBuffer(MEMORY_BYTES);
const channel = new DeviceFuseChannel(device, memory);
const fs = new MemoryFuse(channel, memory, options);
process.on('SIGUSR2', () => {
  const {user, system} = process.cpuUsage();
  process.stdout.write(`${JSON.stringify({cpuUs: user + system, stats: channel.stats()})}\n`);
});
process.on('SIGHUP', async () => {
  const problem = await unmount(dir, {lazy: true});
  if (problem !== null) process.stderr.write(`${problem}\n`);
});
// Leaves the mount behind: the end of the environment has to close the device.
process.on('SIGTERM', () => process.exit(0));
process.stdout.write(`ready ${(await mountedOn(dir))!.minor} ${by}\n`);
await fs.finished;
channel.close();
