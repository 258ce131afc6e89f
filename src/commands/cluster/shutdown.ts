import {Flags} from '@oclif/core';
import {CliError, EXIT} from '../../roles/cli-error.js';
import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';

export default class ClusterShutdown extends CpfsCommand {
  static override summary = 'Stop the whole cluster in order: before the power is cut, say.';
  static override description =
    'Clients write back everything that they have in memory, and may write nothing more; then all data servers stop, and all meta servers. Mounts stay, and wait as ' +
    'for a cluster that does not answer. To begin again, start the servers in any order: the cluster opens when all are back that were there ' +
    "('cpfs cluster start' waits for that).";
  static override examples = [
    '<%= config.bin %> cluster shutdown --yes --meta 10.0.0.1:7400',
    '<%= config.bin %> cluster shutdown --yes --wait 300',
  ];
  static override flags = {
    meta: metaFlag,
    timeout: timeoutFlag,
    wait: Flags.integer({
      summary: 'seconds that clients and servers may take for each step',
      default: 60,
      min: 1,
    }),
    yes: Flags.boolean({summary: 'it is meant: all servers stop'}),
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(ClusterShutdown);
    const meta = metas(flags.meta);
    if (!flags.yes)
      throw new CliError(
        'all servers of the cluster would stop, and programs that use it would wait; give --yes if that is meant',
        EXIT.refused,
      );
    const {shutDown} = await import('../../roles/life.js');
    await shutDown(meta, flags.timeout * 1000, flags.wait * 1000, (line) => this.log(line));
  }
}
