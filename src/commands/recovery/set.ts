import {Flags} from '@oclif/core';
import {parseSize} from '../../core/base/units.js';
import {CliError, EXIT} from '../../roles/cli-error.js';
import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';

export default class RecoverySet extends CpfsCommand {
  static override summary = 'Set how fast servers rebuild what they lack.';
  static override examples = ['<%= config.bin %> recovery set --rate 200MiB'];
  static override flags = {
    meta: metaFlag,
    rate: Flags.string({
      summary: 'bytes a second that one server moves at most, to and from others',
      required: true,
    }),
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(RecoverySet);
    const {changeRecovery} = await import('../../roles/servers.js');
    const rate = parseSize(flags.rate);
    if (rate === null || rate === 0)
      throw new CliError(`--rate is a size such as 64MiB, not '${flags.rate}'`, EXIT.usage);
    await changeRecovery(metas(flags.meta), flags.timeout * 1000, {rate});
  }
}
