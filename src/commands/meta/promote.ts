import {Args, Flags} from '@oclif/core';
import {CliError, EXIT} from '../../roles/cli-error.js';
import {address, CpfsCommand, timeoutFlag} from '../_base.js';

export default class MetaPromote extends CpfsCommand {
  static override summary =
    'Make a standby the active meta server by hand, whatever that loses. For when no coordinator can.';
  static override description =
    'Prints what may be lost first, and does nothing more without --accept-loss. Without a coordinator nobody else can stop the former active meta server: ' +
    'make sure that it does not run any more.';
  static override examples = ['<%= config.bin %> meta promote 10.0.0.2:7400 --accept-loss'];
  static override args = {
    server: Args.string({required: true, description: 'address of the standby, HOST:PORT'}),
  };
  static override flags = {
    'accept-loss': Flags.boolean({summary: 'do it'}),
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(MetaPromote);
    const {lossOf, promote} = await import('../../roles/meta/nodes.js');
    const server = address(args.server, 'the address');
    const timeoutMs = flags.timeout * 1000;
    process.stderr.write(`cpfs: ${await lossOf(server, timeoutMs)}\n`);
    if (!flags['accept-loss']) {
      throw new CliError(
        'nothing was done; say --accept-loss to make it the active one',
        EXIT.refused,
      );
    }
    await promote(server, timeoutMs);
    process.stderr.write(`cpfs: ${server} is the active meta server now\n`);
  }
}
