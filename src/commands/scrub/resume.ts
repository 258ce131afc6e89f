import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';

export default class ScrubResume extends CpfsCommand {
  static override summary = 'Go on with scrubbing where it was paused.';
  static override examples = ['<%= config.bin %> scrub resume --meta 127.0.0.1:7400'];
  static override flags = {meta: metaFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(ScrubResume);
    const {scrub} = await import('../../roles/scrub.js');
    const settings = {paused: 1, rate: 0, interval: 0};
    await scrub(metas(flags.meta), flags.timeout * 1000, {settings});
  }
}
