import {resolve} from 'node:path';
import {devKill} from '../../roles/dev/main.js';
import {CpfsCommand, stateFlag} from '../_base.js';
import {roleOf, targetArgs} from './_target.js';

export default class DevKill extends CpfsCommand {
  static override summary = 'End one process of the cluster at once (SIGKILL).';
  static override examples = ['<%= config.bin %> dev kill data 3'];
  static override args = targetArgs;
  static override flags = {state: stateFlag};

  async run(): Promise<void> {
    const {args, flags} = await this.parse(DevKill);
    await devKill(resolve(flags.state), roleOf(args.role), args.index);
  }
}
