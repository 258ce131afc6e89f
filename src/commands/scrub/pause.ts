import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';

export default class ScrubPause extends CpfsCommand {
  static override summary = 'Stop scrubbing on all servers; each keeps its place.';
  static override examples = ['<%= config.bin %> scrub pause --meta 127.0.0.1:7400'];
  static override flags = {meta: metaFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(ScrubPause);
    const {scrub} = await import('../../roles/scrub.js');
    const settings = {paused: 2, rate: 0, interval: 0};
    await scrub(metas(flags.meta), flags.timeout * 1000, {settings});
  }
}
