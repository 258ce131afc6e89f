import {resolve} from 'node:path';
import {CpfsCommand, stateFlag} from '../_base.js';
import {roleOf, targetArgs} from './_target.js';

export default class DevKill extends CpfsCommand {
  static override summary = 'End one process of the cluster at once (SIGKILL).';
  static override examples = ['<%= config.bin %> dev kill data 3'];
  static override args = targetArgs;
  static override flags = {state: stateFlag};

  async run(): Promise<void> {
    const {args, flags} = await this.parse(DevKill);
    const {devKill} = await import('../../roles/dev/main.js');
    await devKill(resolve(flags.state), roleOf(args.role), args.index);
  }
}
