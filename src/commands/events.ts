import {Flags} from '@oclif/core';
import type {ClusterEvent, EventsPage} from '../roles/events.js';
import {CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from './_base.js';
import {durationMs} from './_duration.js';
import {localTime} from './_time.js';

export default class Events extends CpfsCommand {
  static override summary =
    'Show what has happened: to slots, groups, meta servers, clients, scrubs and recoveries.';
  static override description =
    'The active meta server keeps the last 2048 events in memory. Another one that becomes the active one begins a list of its own, with the slots that it finds not ready; what was before is in the log of the former.';
  static override examples = [
    '<%= config.bin %> events --meta 127.0.0.1:7400',
    '<%= config.bin %> events -f --since 10m',
  ];
  static override flags = {
    meta: metaFlag,
    follow: Flags.boolean({char: 'f', summary: 'go on, and print each as it comes'}),
    since: Flags.string({summary: 'not what is older: 90s, 10m, 2h, 1d'}),
    output: outputFlag,
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(Events);
    const {eventText, fetchEvents, followEvents} = await import('../roles/events.js');
    const from = flags.since === undefined ? 0 : Date.now() - durationMs(flags.since, '--since');
    const recent = ({events}: EventsPage) => events.filter(({at}) => Date.parse(at) >= from);
    const line = (one: ClusterEvent): string =>
      flags.output === 'json' ? JSON.stringify(one) : `${localTime(one.at)}  ${eventText(one)}`;
    const timeoutMs = flags.timeout * 1000;
    if (flags.follow) {
      await followEvents(metas(flags.meta), timeoutMs, {
        events: (page) => {
          for (const one of recent(page)) this.log(line(one));
        },
        note: (text) => process.stderr.write(`cpfs: ${text}\n`),
      });
    }
    const page = await fetchEvents(metas(flags.meta), timeoutMs);
    if (flags.output === 'json') {
      this.log(JSON.stringify({version: 1, missed: page.missed, events: recent(page)}, null, 2));
      return;
    }
    for (const one of recent(page)) this.log(line(one));
  }
}
