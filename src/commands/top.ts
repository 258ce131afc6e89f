import {resolve} from 'node:path';
import {Flags} from '@oclif/core';
import {EXIT} from '../roles/cli-error.js';
import {CpfsCommand, metaFlag, metas, stateFlag, timeoutFlag} from './_base.js';

export default class Top extends CpfsCommand {
  static override summary =
    'Show the cluster at a glance, live: health, servers, clients, hot files, leases, events.';
  static override description =
    "Keys are in the last line; '?' explains what is shown. NO_COLOR takes the colours away.";
  static override examples = [
    '<%= config.bin %> top --meta 127.0.0.1:7400',
    '<%= config.bin %> top --once',
    '<%= config.bin %> top --chaos --state /var/tmp/cpfs-dev',
  ];
  static override flags = {
    meta: metaFlag,
    once: Flags.boolean({summary: 'print what there is to see once, as text', exclusive: ['json']}),
    json: Flags.boolean({summary: 'print what there is to see once, as JSON'}),
    chaos: Flags.boolean({
      summary:
        'of the dev cluster in --state: keys that kill, stop, cut, damage and fill servers, while files on its mount are written and verified',
      exclusive: ['once', 'json'],
    }),
    state: stateFlag,
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(Top);
    const {glyphsFor, textOf, top, viewOnce} = await import('../roles/console/main.js');
    const timeoutMs = flags.timeout * 1000;
    if (flags.once || flags.json) {
      const meta = metas(flags.meta);
      const view = await viewOnce({meta, timeoutMs});
      const width = process.stdout.columns ?? 100;
      this.log(
        flags.json
          ? JSON.stringify(view, null, 2)
          : textOf(view, width, glyphsFor(process.env), meta),
      );
      return;
    }
    if (!flags.chaos) {
      await top({meta: metas(flags.meta), timeoutMs}, null);
      process.exit(EXIT.ok);
    }
    const {openChaos} = await import('../roles/console/chaos.js');
    const {meta, acts, close} = openChaos(resolve(flags.state));
    try {
      await top({meta, timeoutMs}, acts);
    } finally {
      await close();
    }
    process.exit(EXIT.ok);
  }
}
