import {resolve} from 'node:path';
import {Flags} from '@oclif/core';
import {CpfsCommand, stateFlag} from '../_base.js';

export default class DevDown extends CpfsCommand {
  static override summary = 'Unmount and stop everything that `dev up` started.';
  static override examples = ['<%= config.bin %> dev down', '<%= config.bin %> dev down --purge'];
  static override flags = {
    state: stateFlag,
    purge: Flags.boolean({
      summary: 'also remove the state folder, and with it every file in the cluster',
    }),
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(DevDown);
    const {devDown} = await import('../../roles/dev/main.js');
    await devDown(resolve(flags.state), flags.purge);
  }
}
