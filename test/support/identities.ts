import type {Identity} from '../../src/core/base/identity.js';
import type {SimLand, SimMachine} from '../../src/core/sim/machine.js';

/** Whoever connects from a host has proved to be who `of` says; null: nobody in particular. For machines that boot from now on. */
export function proving(
  land: SimLand,
  machines: readonly SimMachine[],
  of: (host: string) => Identity | null,
): void {
  const wrap = (machine: SimMachine): SimMachine => {
    const boot = machine.boot.bind(machine);
    machine.boot = () => {
      const env = boot();
      const {net} = env;
      const listen: typeof net.listen = (address, accept) =>
        net.listen(address, (connection) => {
          const identity = of(connection.peer.split(':')[0]!);
          accept(identity === null ? connection : Object.assign(connection, {identity}));
        });
      const [connect, resolve] = [net.connect.bind(net), net.resolve.bind(net)];
      return {...env, net: {connect, resolve, listen}};
    };
    return machine;
  };
  for (const machine of machines) wrap(machine);
  const made = land.machine.bind(land);
  land.machine = (name, shape) => wrap(made(name, shape));
}
