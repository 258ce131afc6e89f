import {resolve} from 'node:path';
import {Flags} from '@oclif/core';
import {parseScheme} from '../../core/layout/scheme.js';
import {CliError, EXIT} from '../../roles/cli-error.js';
import type {DevState} from '../../roles/dev/state.js';
import {CpfsCommand, stateFlag} from '../_base.js';

export default class DevUp extends CpfsCommand {
  static override summary = 'Start a whole cluster on this machine and mount it.';
  static override description =
    'Starts a meta server, data servers and a mount as processes of their own, on 127.0.0.1 only. Without --detach it stays in the foreground and stops everything at Ctrl-C.';
  static override examples = [
    '<%= config.bin %> dev up --state /var/tmp/cpfs-dev --mount /mnt/cpfs --detach',
  ];
  static override flags = {
    state: stateFlag,
    mount: Flags.string({summary: 'an empty folder to mount on', required: true}),
    groups: Flags.integer({summary: 'groups of data servers', default: 1, min: 1, max: 16}),
    servers: Flags.integer({summary: 'data servers in each group', default: 5, min: 1, max: 32}),
    metas: Flags.integer({
      summary: "meta servers; of several, Debian's etcd decides which one is active",
      default: 1,
      min: 1,
      max: 5,
    }),
    spares: Flags.integer({
      summary: 'data servers that wait for the slot of one that stays away',
      default: 0,
      min: 0,
      max: 32,
    }),
    'out-after': Flags.integer({
      summary: 'seconds after which a spare takes the slot of a server that is away; 0: never',
      default: 600,
      min: 0,
    }),
    scheme: Flags.string({summary: 'data + redundancy columns', default: '4+1'}),
    direct: Flags.boolean({summary: 'data servers move large pieces past the page cache'}),
    detach: Flags.boolean({summary: 'return once the mount is usable'}),
    'if-needed': Flags.boolean({summary: 'succeed where it runs already'}),
    'base-port': Flags.integer({
      summary: 'first port; 0 takes free ones',
      default: 7400,
      min: 0,
      max: 65000,
    }),
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(DevUp);
    const {devDown, devRunning, devUp} = await import('../../roles/dev/main.js');
    const {mountPath} = await import('../../roles/mounts.js');
    const scheme = parseScheme(flags.scheme);
    if (scheme === null)
      throw new CliError(
        `--scheme is DATA+REDUNDANCY, such as 4+1, not '${flags.scheme}'`,
        EXIT.usage,
      );
    if (scheme.k + scheme.m > flags.servers) {
      throw new CliError(
        `${flags.scheme} needs ${scheme.k + scheme.m} servers; use --servers ${scheme.k + scheme.m} or more`,
        EXIT.usage,
      );
    }
    const state = resolve(flags.state);
    const mount = await mountPath(flags.mount);
    const settings = {
      groups: flags.groups,
      servers: flags.servers,
      scheme: flags.scheme,
      direct: flags.direct,
      spares: flags.spares,
      outAfter: flags['out-after'],
      metas: flags.metas,
      basePort: flags['base-port'],
    };
    const there = flags['if-needed'] ? await devRunning(state, mount, settings) : null;
    if (there !== null) {
      say('runs already, and is', there.dev);
      for (const {index} of there.stopped) {
        process.stderr.write(
          `data server ${index} does not run; start it with 'cpfs dev start data ${index} --state ${state}'\n`,
        );
      }
      return;
    }
    say('is', await devUp(state, mount, settings));
    if (flags.detach) return;
    await new Promise<void>((done) => {
      process.once('SIGINT', () => done());
      process.once('SIGTERM', () => done());
      // Signal handlers alone do not keep a process alive.
      setInterval(() => {}, 1 << 30);
    });
    await devDown(state, false);
    process.exit(EXIT.ok);
  }
}

const say = (how: string, {mounts, meta, data}: DevState): boolean =>
  process.stderr.write(
    `cpfs ${how} mounted on ${mounts[0]!.dir}; meta server${meta.length > 1 ? 's' : ''} ${meta.map(({address}) => address).join(',')}, ${data.length} data servers\n`,
  );
