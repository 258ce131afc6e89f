import {Flags} from '@oclif/core';
import type {DeedShown} from '../roles/deeds.js';
import {CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from './_base.js';
import {localTime} from './_time.js';

export default class Audit extends CpfsCommand {
  static override summary =
    'Show what administrators did, from where, and with what result; and who was refused.';
  static override description =
    'The last 5000, which all meta servers have: it does not matter which one is active. Of those who are refused again and again a few are written down, and how many there were.';
  static override examples = [
    '<%= config.bin %> audit --meta 127.0.0.1:7400',
    '<%= config.bin %> audit -f -o json',
  ];
  static override flags = {
    meta: metaFlag,
    follow: Flags.boolean({char: 'f', summary: 'go on, and print each as it comes'}),
    output: outputFlag,
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(Audit);
    const {deedText, readDeeds} = await import('../roles/deeds.js');
    const json = flags.output === 'json';
    const all: DeedShown[] = [];
    const timeoutMs = flags.timeout * 1000;
    await readDeeds(metas(flags.meta), timeoutMs, flags.follow, (deeds, missed) => {
      if (missed > 0) process.stderr.write(`cpfs: ${missed} more are not kept any more\n`);
      if (json && !flags.follow) all.push(...deeds);
      else
        for (const deed of deeds)
          this.log(json ? JSON.stringify(deed) : `${localTime(deed.at)}  ${deedText(deed)}`);
    });
    if (json && !flags.follow) this.log(JSON.stringify({version: 1, deeds: all}, null, 2));
  }
}
