import {resolve} from 'node:path';
import {CpfsCommand, stateFlag} from '../_base.js';
import {roleOf, targetArgs} from './_target.js';

export default class DevStart extends CpfsCommand {
  static override summary = 'Start one process of the cluster again.';
  static override examples = ['<%= config.bin %> dev start data 3'];
  static override args = targetArgs;
  static override flags = {state: stateFlag};

  async run(): Promise<void> {
    const {args, flags} = await this.parse(DevStart);
    const {devStart} = await import('../../roles/dev/main.js');
    await devStart(resolve(flags.state), roleOf(args.role), args.index);
  }
}
