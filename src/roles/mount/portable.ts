import {realpath} from 'node:fs/promises';
import {messageOf} from '../../core/base/errors.js';
import type {OpenedClient} from '../../core/client/index.js';
import {PathDoor} from '../../core/door/path/door.js';
import {PortableMount} from '../../core/os/portable-fuse.js';
import {CliError, EXIT} from '../cli-error.js';
import type {ClientEnv} from '../real-env.js';
import {nodeSecurity, readsOnly} from '../security.js';
import type {MountDoor, MountRole} from './main.js';

/** Large slots of the pool that what programs write leaves to the client. */
const SPARE_SLOTS = 32;

/** Mounts with fuse-native. */
export async function portableDoor(
  role: MountRole,
  env: ClientEnv,
  client: OpenedClient,
  use: (door: MountDoor) => void,
): Promise<void> {
  const {meta, options} = role;
  const readOnly = options.readOnly || readsOnly(nodeSecurity());
  const caller = {uid: process.getuid!(), gid: process.getgid!()};
  const door = new PathDoor(client, env, {
    caller,
    root: client.parts.session.root,
    readOnly,
    labels: options.selinux,
    spareSlots: SPARE_SLOTS,
  });
  try {
    const {noSuid, noDev, noExec} = options;
    const own = {dir: await realpath(role.dir), source: role.source ?? `cpfs:${meta}`, readOnly};
    const mount = PortableMount.open(door, {...own, noSuid, noDev, noExec, root: caller.uid === 0});
    use({
      by: 'fuse-native',
      requests: () => door.answered,
      invalidate: () => door.invalidate(),
      fenced: () => door.fenced(),
      voidNames: () => door.voidNames(),
      whenEnded: () => mount.whenEnded(),
      close: () => {},
    });
  } catch (error) {
    throw new CliError(messageOf(error), EXIT.failed);
  }
}
