import {Flags} from '@oclif/core';
import {CliError, EXIT} from '../roles/cli-error.js';
import type {ClusterEvent, EventsPage} from '../roles/events.js';
import {CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from './_base.js';

const UNITS: Readonly<Record<string, number>> = {s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000};

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
    const from = flags.since === undefined ? 0 : Date.now() - durationMs(flags.since);
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

function durationMs(text: string): number {
  const match = /^(\d{1,6})([smhd])$/.exec(text);
  if (match === null)
    throw new CliError(
      `--since must be a time such as 90s, 10m, 2h or 1d, not '${text}'`,
      EXIT.usage,
    );
  return Number(match[1]) * UNITS[match[2]!]!;
}

/** `2026-11-23 23:20:01`, where the reader is. */
function localTime(iso: string): string {
  const at = new Date(iso);
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}
