import {resolve} from 'node:path';
import {Flags} from '@oclif/core';
import {CpfsCommand, stateFlag} from '../_base.js';
import {roleOf, targetArgs} from './_target.js';

export default class DevWipe extends CpfsCommand {
  static override summary =
    'Stop a data server and empty its folder, as if its disk had been replaced.';
  static override examples = ['<%= config.bin %> dev wipe data 3'];
  static override args = targetArgs;
  static override flags = {
    state: stateFlag,
    force: Flags.boolean({summary: 'even if files are lost by it', default: false}),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(DevWipe);
    const {devWipe} = await import('../../roles/dev/main.js');
    await devWipe(resolve(flags.state), roleOf(args.role), args.index, flags.force);
  }
}
