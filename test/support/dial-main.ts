// A worker that dials again and again, and says something at once: its own event loop, so that it does not wait for the listener's.
import {workerData} from 'node:worker_threads';
import {Keyring} from '../../src/core/os/keyring.js';
import {TcpNet} from '../../src/core/os/net-tcp.js';
import {OPS} from '../../src/core/protocol/ops.js';
import {makePool} from './frames.js';

const {address, keys, count} = workerData as {address: string; keys: string; count: number};
const security = {keys: Keyring.parse(keys), floor: 'auth', refusal: () => null} as const;
const net = new TcpNet(makePool({small: 8, medium: 0, large: 0}), undefined, null, security);
for (let id = 1; id <= count; id++) {
  const connection = await net.connect(address, 2_000);
  const closed = new Promise<void>((resolve) => {
    connection.handle({frame: () => {}, closed: () => resolve(), drained: () => {}});
  });
  connection.send(OPS.getattr.code, 0, id, 0, new Uint8Array(3), null);
  // It closes when it has it.
  await closed;
}
